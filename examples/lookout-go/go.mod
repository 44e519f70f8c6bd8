module lookout

go 1.19

require (
	github.com/rabbitmq/amqp091-go v1.5.0
	github.com/vmihailenco/msgpack/v5 v5.3.5
)
