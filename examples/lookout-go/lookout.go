// Answers each fire with where it burns: a function in Go, by docs/any-language.md.
//
// Run: go mod tidy && go build && BONGSU_BROKER_URL=amqp://guest:guest@127.0.0.1 ./lookout
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/vmihailenco/msgpack/v5"
)

const (
	name          = "lookout"
	queue         = "fire." + name
	answerType    = "lookout"
	deliveryLimit = 8
	prefetch      = 16
	version       = 2
)

var delays = []int{1, 2, 5, 10, 30, 60, 300}

type place struct {
	Lat    float64 `msgpack:"lat"`
	Lon    float64 `msgpack:"lon"`
	Name   string  `msgpack:"name"`
	Region string  `msgpack:"region"`
}

type stage struct {
	Name   string    `msgpack:"name"`
	GotAt  time.Time `msgpack:"got_at"`
	DoneAt time.Time `msgpack:"done_at"`
}

// The fields that this function uses; docs/schema/hazard.json has all of them.
type fire struct {
	ID         string    `msgpack:"id"`
	Version    int       `msgpack:"version"`
	Camera     string    `msgpack:"camera"`
	Place      *place    `msgpack:"place"`
	CapturedAt time.Time `msgpack:"captured_at"`
	Frame      *struct {
		JPEG []byte `msgpack:"jpeg"`
	} `msgpack:"frame"`
	Detections []struct {
		Label      string  `msgpack:"label"`
		Confidence float64 `msgpack:"confidence"`
	} `msgpack:"detections"`
	Late  bool    `msgpack:"late"`
	Trace []stage `msgpack:"trace"`
}

type answer struct {
	Type       string    `msgpack:"type"`
	ID         string    `msgpack:"id"`
	Version    int       `msgpack:"version"`
	Camera     string    `msgpack:"camera"`
	Place      *place    `msgpack:"place"`
	CapturedAt time.Time `msgpack:"captured_at"`
	Status     string    `msgpack:"status"`
	Late       bool      `msgpack:"late"`
	Trace      []stage   `msgpack:"trace"`
}

// retry has the event delivered again after a while.
type retry struct {
	reason string
	after  time.Duration
}

func (r retry) Error() string { return r.reason }

// reject makes the event a dead letter at once.
type reject struct{ reason string }

func (r reject) Error() string { return r.reason }

// What this function is about; all else is how events travel.
func lookout(f fire) (answer, error) {
	if f.Place.Name == "" {
		return answer{}, retry{"no place yet", time.Second}
	}
	if f.Frame == nil {
		return answer{}, reject{"no picture"}
	}
	confidence := 0.0
	if len(f.Detections) > 0 {
		confidence = f.Detections[0].Confidence
	}
	return answer{
		Type: answerType, ID: f.ID, Version: version, Camera: f.Camera, Place: f.Place, CapturedAt: f.CapturedAt,
		Status: fmt.Sprintf("fire at %s, %.0f%%", f.Place.Name, 100*confidence), Late: f.Late, Trace: f.Trace,
	}, nil
}

func readFire(body []byte) (fire, error) {
	var f fire
	if err := msgpack.Unmarshal(body, &f); err != nil {
		return f, reject{fmt.Sprintf("not an event: %v", err)}
	}
	if f.Version != version {
		return f, reject{fmt.Sprintf("not an event: version must be %d, got %d", version, f.Version)}
	}
	if f.ID == "" || f.Place == nil || f.CapturedAt.IsZero() {
		return f, reject{"not an event: id, place or captured_at is missing"}
	}
	return f, nil
}

type worker struct {
	channel  *amqp.Channel
	returned chan amqp.Return
}

// publish returns once the broker has it: confirmed, and taken by a queue.
func (w *worker) publish(exchange, key string, body []byte, headers amqp.Table) error {
	message := amqp.Publishing{
		Headers: headers, ContentType: "application/msgpack", DeliveryMode: amqp.Persistent, Body: body,
	}
	confirm, err := w.channel.PublishWithDeferredConfirmWithContext(context.Background(), exchange, key, true, false, message)
	if err != nil {
		return err
	}
	if !confirm.Wait() {
		return errors.New("the broker did not confirm")
	}
	select {
	case <-w.returned: // it comes before the confirm
		return fmt.Errorf("no queue takes %s", key)
	default:
		return nil
	}
}

func (w *worker) work(d amqp.Delivery) error {
	gotAt := time.Now().UTC()
	f, err := readFire(d.Body)
	if err != nil {
		return err
	}
	told, err := lookout(f)
	if err != nil {
		return err
	}
	told.Trace = append(told.Trace, stage{name, gotAt, time.Now().UTC()})
	body, err := msgpack.Marshal(&told)
	if err != nil {
		return reject{err.Error()}
	}
	return w.publish("bongsu", answerType, body, amqp.Table{
		"cloudEvents:specversion": "1.0",
		"cloudEvents:id":          f.ID,
		"cloudEvents:source":      "/cameras/" + f.Camera + "/" + answerType,
		"cloudEvents:type":        answerType,
		"cloudEvents:subject":     f.Camera,
		"cloudEvents:time":        f.CapturedAt.UTC().Format(time.RFC3339Nano),
	})
}

// handle works on one delivery and acknowledges it last: a crash before that repeats the work, and loses nothing.
func (w *worker) handle(d amqp.Delivery, stopping bool) error {
	attempt := count(d.Headers["x-bongsu-attempts"]) + count(d.Headers["x-delivery-count"]) + 1
	var err error
	if stopping {
		err = w.sendOn(d, "bongsu.requeue", queue, amqp.Table{"x-bongsu-attempts": int32(attempt - 1)})
	} else if err = w.work(d); err != nil {
		err = w.refuse(d, attempt, err)
	}
	if err != nil {
		return err
	}
	return d.Ack(false)
}

func (w *worker) refuse(d amqp.Delivery, attempt int, why error) error {
	var rejected reject
	var again retry
	reason, isRejected := why.Error(), errors.As(why, &rejected)
	if !isRejected && attempt >= deliveryLimit {
		isRejected, reason = true, fmt.Sprintf("%s (delivery %d of %d)", reason, attempt, deliveryLimit)
	}
	if isRejected {
		log.Printf("event_rejected attempt=%d reason=%q", attempt, reason)
		return w.sendOn(d, "bongsu.dead", "", amqp.Table{
			"x-bongsu-attempts": int32(attempt), "x-bongsu-reason": reason, "x-bongsu-queue": queue,
			"x-bongsu-dead-at": time.Now().UTC().Format("2006-01-02T15:04:05.000000+00:00"),
		})
	}
	after := math.Min(60, math.Pow(2, float64(attempt)))
	if errors.As(why, &again) {
		after = again.after.Seconds()
	}
	delay := delays[len(delays)-1]
	for i := len(delays) - 1; i >= 0 && float64(delays[i]) >= after; i-- {
		delay = delays[i]
	}
	log.Printf("event_retried attempt=%d after_s=%d reason=%q", attempt, delay, reason)
	return w.sendOn(d, fmt.Sprintf("bongsu.retry.%ds", delay), queue, amqp.Table{"x-bongsu-attempts": int32(attempt)})
}

// sendOn publishes the same message for one queue alone, without what brokers noted on it.
func (w *worker) sendOn(d amqp.Delivery, exchange, key string, headers amqp.Table) error {
	for header, value := range d.Headers {
		if !strings.HasPrefix(header, "x-") {
			headers[header] = value
		}
	}
	headers["x-bongsu-routing-key"] = d.RoutingKey
	if kind, ok := d.Headers["x-bongsu-routing-key"]; ok {
		headers["x-bongsu-routing-key"] = kind
	}
	return w.publish(exchange, key, d.Body, headers)
}

func count(value interface{}) int {
	if number, err := strconv.Atoi(fmt.Sprint(value)); err == nil && number > 0 {
		return number
	}
	return 0
}

// serve handles events until told to stop (nil), or until the connection is lost.
func serve(url string, stop <-chan os.Signal) error {
	connection, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	w := worker{channel, channel.NotifyReturn(make(chan amqp.Return, 1))}
	if err = channel.Confirm(false); err != nil {
		return err
	}
	if err = channel.Qos(prefetch, 0, false); err != nil {
		return err
	}
	// The queue was declared by `bongsu topology apply`.
	deliveries, err := channel.Consume(queue, name, false, false, false, false, nil)
	if err != nil {
		return err
	}
	stopping := false
	for {
		select {
		case <-stop:
			stopping = true
			if err = channel.Cancel(name, false); err != nil { // what is here already goes back, below
				return err
			}
		case d, open := <-deliveries:
			if !open && stopping {
				return nil
			}
			if !open {
				return errors.New("the connection was lost")
			}
			if err = w.handle(d, stopping); err != nil {
				return err
			}
		}
	}
}

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	url := os.Getenv("BONGSU_BROKER_URL")
	if url == "" {
		url = "amqp://guest:guest@127.0.0.1"
	}
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		begun := time.Now()
		err := serve(url, stop)
		if err == nil {
			return
		}
		log.Printf("broker_unavailable reason=%q", err)
		if time.Since(begun) > time.Minute {
			wait = 500 * time.Millisecond
		}
		select {
		case <-stop:
			return
		case <-time.After(wait):
		}
	}
}

func min(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}
