// Answers each fire with where it burns: a function in TypeScript, by docs/any-language.md.
//
// Run: npm ci && npm run build && BONGSU_BROKER_URL=amqp://guest:guest@127.0.0.1 npm start

import { decode, encode } from "@msgpack/msgpack";
import { connect, type ChannelModel, type ConfirmChannel, type ConsumeMessage, type Options } from "amqplib";

const NAME = "lookout";
const QUEUE = `fire.${NAME}`;
const ANSWER = "lookout";
const DELAYS_S = [1, 2, 5, 10, 30, 60, 300];
const DELIVERY_LIMIT = 8;
const PREFETCH = 16;
const VERSION = 2;

// The fields that this function uses; docs/schema/fire.json has all of them.
interface Fire {
  id: string;
  type: string;
  version: number;
  camera: string;
  place: { name: string; lat: number; lon: number };
  captured_at: Date;
  frame?: { jpeg: Uint8Array } | null;
  detections?: { label: string; confidence: number }[];
  late?: boolean;
  trace?: { name: string; got_at: Date; done_at: Date }[];
}

class Retry extends Error {
  constructor(reason: string, readonly afterS = 5) { super(reason); }
}
class Reject extends Error {}

// What this function is about; all else is how events travel.
function lookout(fire: Fire): Record<string, unknown> {
  if (!fire.place.name) throw new Retry("no place yet", 1);
  if (!fire.frame) throw new Reject("no picture");
  const confidence = fire.detections?.[0]?.confidence ?? 0;
  return {
    type: ANSWER, version: VERSION, id: fire.id, camera: fire.camera, place: fire.place,
    captured_at: fire.captured_at, late: fire.late ?? false,
    status: `fire at ${fire.place.name}, ${Math.round(confidence * 100)}%`,
  };
}

function readFire(body: Uint8Array): Fire {
  let fire: Fire;
  try {
    fire = decode(body) as Fire; // MessagePack timestamps become Date
  } catch (error) {
    throw new Reject(`not an event: ${error}`);
  }
  if (typeof fire !== "object" || fire === null) throw new Reject("not an event: not a map");
  if (fire.version !== VERSION) throw new Reject(`not an event: version must be ${VERSION}, got ${fire.version}`);
  if (typeof fire.id !== "string" || typeof fire.place !== "object" || !(fire.captured_at instanceof Date)) {
    throw new Reject("not an event: id, place or captured_at is missing");
  }
  return fire;
}

// Publishes, and returns once the broker has it: confirmed, and taken by a queue.
function publish(
  channel: ConfirmChannel, returned: Set<string>, exchange: string, key: string, body: Uint8Array, headers: object,
): Promise<void> {
  const messageId = crypto.randomUUID();
  const options: Options.Publish = {
    mandatory: true, persistent: true, contentType: "application/msgpack", messageId, headers,
  };
  return new Promise((resolve, reject) => {
    channel.publish(exchange, key, Buffer.from(body), options, (error) => {
      // The broker returns what no queue takes before it confirms it.
      if (error) reject(error);
      else if (returned.delete(messageId)) reject(new Error(`no queue takes ${key}`));
      else resolve();
    });
  });
}

class Worker {
  private readonly returned = new Set<string>();
  private readonly working = new Set<Promise<void>>();
  private tag = "";
  private stopping = false;

  constructor(private readonly channel: ConfirmChannel) {
    channel.on("return", (message) => this.returned.add(message.properties.messageId));
  }

  async serve(): Promise<void> {
    await this.channel.checkQueue(QUEUE); // declared by `bongsu topology apply`
    await this.channel.prefetch(PREFETCH);
    const { consumerTag } = await this.channel.consume(QUEUE, (message) => {
      if (message === null) { this.channel.emit("error", new Error("the broker ended the subscription")); return; }
      // What fails here was not acknowledged: with the connection gone, the broker delivers it again.
      const work = this.handle(message).catch(() => undefined).finally(() => this.working.delete(work));
      this.working.add(work);
    });
    this.tag = consumerTag;
  }

  // Finish what is begun; what waits in hand goes back uncounted.
  async stop(): Promise<void> {
    this.stopping = true;
    await this.channel.cancel(this.tag);
    await Promise.all(this.working);
    await this.channel.close();
  }

  private async handle(message: ConsumeMessage): Promise<void> {
    const gotAt = new Date();
    const headers = message.properties.headers ?? {};
    const attempt = count(headers["x-bongsu-attempts"]) + count(headers["x-delivery-count"]) + 1;
    try {
      if (this.stopping) {
        await this.sendOn(message, "bongsu.requeue", QUEUE, { "x-bongsu-attempts": attempt - 1 });
      } else {
        await this.work(message, gotAt);
      }
    } catch (error) {
      await this.refuse(message, attempt, error as Error);
    }
    this.channel.ack(message); // last: a crash before this repeats the work, and loses nothing
  }

  private async work(message: ConsumeMessage, gotAt: Date): Promise<void> {
    const fire = readFire(message.content);
    const answer = lookout(fire);
    const trace = [...(fire.trace ?? []), { name: NAME, got_at: gotAt, done_at: new Date() }];
    await publish(this.channel, this.returned, "bongsu", ANSWER, encode({ ...answer, trace }), {
      "cloudEvents:specversion": "1.0",
      "cloudEvents:id": fire.id,
      "cloudEvents:source": `/cameras/${fire.camera}/${ANSWER}`,
      "cloudEvents:type": ANSWER,
      "cloudEvents:subject": fire.camera,
      "cloudEvents:time": fire.captured_at.toISOString(),
    });
  }

  private async refuse(message: ConsumeMessage, attempt: number, error: Error): Promise<void> {
    const last = attempt >= DELIVERY_LIMIT;
    if (error instanceof Reject || last) {
      const reason = last && !(error instanceof Reject) ? `${error.message} (delivery ${attempt} of ${DELIVERY_LIMIT})` : error.message;
      console.error(JSON.stringify({ event: "event_rejected", reason, attempt }));
      await this.sendOn(message, "bongsu.dead", "", {
        "x-bongsu-attempts": attempt, "x-bongsu-reason": reason.slice(0, 2000), "x-bongsu-queue": QUEUE,
        "x-bongsu-dead-at": new Date().toISOString(),
      });
      return;
    }
    const afterS = error instanceof Retry ? error.afterS : Math.min(60, 2 ** attempt);
    const delay = DELAYS_S.find((s) => s >= afterS) ?? 300;
    console.error(JSON.stringify({ event: "event_retried", reason: error.message, attempt, after_s: delay }));
    await this.sendOn(message, `bongsu.retry.${delay}s`, QUEUE, { "x-bongsu-attempts": attempt });
  }

  // The same message, for one queue alone, without what brokers noted on it.
  private sendOn(message: ConsumeMessage, exchange: string, key: string, notes: object): Promise<void> {
    const headers = message.properties.headers ?? {};
    const kept = Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith("x-")));
    const type = headers["x-bongsu-routing-key"] ?? message.fields.routingKey;
    return publish(this.channel, this.returned, exchange, key, message.content, { ...kept, ...notes, "x-bongsu-routing-key": type });
  }
}

function count(value: unknown): number {
  const number = Number(value ?? 0);
  return Number.isInteger(number) && number > 0 ? number : 0;
}

let stopped = false;
let wake: () => void = () => undefined;
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => { stopped = true; wake(); });

for (let attempt = 0; !stopped; attempt += 1) {
  let connection: ChannelModel | undefined;
  try {
    const lost = new Promise<void>((resolve) => { wake = resolve; });
    connection = await connect(process.env.BONGSU_BROKER_URL ?? "amqp://guest:guest@127.0.0.1");
    connection.on("error", () => wake()).on("close", () => wake());
    const channel = await connection.createConfirmChannel();
    channel.on("error", () => wake()).on("close", () => wake());
    const worker = new Worker(channel);
    await worker.serve();
    attempt = 0;
    await lost;
    if (stopped) await worker.stop();
  } catch (error) {
    if (stopped) break;
    console.error(JSON.stringify({ event: "broker_unavailable", reason: String(error) }));
    await new Promise((resolve) => { wake = () => resolve(undefined); setTimeout(resolve, Math.min(10_000, 500 * 2 ** attempt)); });
  } finally {
    await connection?.close().catch(() => undefined);
  }
}
process.exit(0);
