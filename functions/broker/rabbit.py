"""The production broker: RabbitMQ over aio-pika, with confirms, returns, quorum queues and kept dead letters."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError
from yarl import URL

from functions.broker.base import BrokerError, DeadLetter, Depth, Unroutable
from functions.event import CONTENT_TYPE, Message
from functions.topology import EXCHANGE, Queue, queue

_DEAD = "bongsu.dead"
_ATTEMPTS, _REASON, _QUEUE, _DEAD_AT, _KEY = (
    "x-bongsu-attempts",
    "x-bongsu-reason",
    "x-bongsu-queue",
    "x-bongsu-dead-at",
    "x-bongsu-routing-key",
)
_OURS = {_ATTEMPTS, _REASON, _QUEUE, _DEAD_AT, _KEY}
_DELAYS_S = (1, 2, 5, 10, 30, 60, 300)
"""A delay is a queue with a TTL; TTLs expire at the head only, so each delay needs its own."""
_FAILURES = (AMQPError, ConnectionError, ChannelInvalidStateError, asyncio.TimeoutError, OSError, RuntimeError)


class RabbitBroker:
    """Topic exchange `bongsu`, a quorum queue per type and function, one queue of dead letters."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._shown = str(URL(url).with_user(None).with_password(None))
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, url: str) -> RabbitBroker:
        """Connect and make sure that the exchanges and the queue of dead letters exist.

        Raises:
            BrokerError: no answer, or the credentials are refused.
        """
        broker = cls(url)
        await broker._ready()
        return broker

    async def declare(self, queues: Iterable[Queue]) -> None:
        channel = await self._ready()
        try:
            for q in queues:
                declared = await channel.declare_queue(q.name, durable=True, arguments=_arguments(q))
                await declared.bind(EXCHANGE, q.routing_key)
        except _FAILURES as error:
            await self._drop_connection()
            raise BrokerError(f"{self._shown}: cannot declare {q.name}: {error}") from error

    async def publish(self, *messages: Message) -> None:
        await self._ready()
        assert self._exchange is not None
        exchange = self._exchange
        await self._confirmed(exchange.publish(_outgoing(m), m.routing_key, mandatory=True) for m in messages)

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], prefetch: int = 1) -> AsyncIterator[_RabbitConsumer]:
        connection = await self._connected()
        try:
            channel = await connection.channel()
            # Quorum queues know no prefetch across queues, so this holds for each queue by itself.
            await channel.set_qos(prefetch_count=prefetch)
            consumer = _RabbitConsumer(self)
            channel.close_callbacks.add(lambda *_: consumer.lose())
            connection.close_callbacks.add(lambda *_: consumer.lose())
            for name in queues:
                declared = await channel.get_queue(name, ensure=True)
                tag = await declared.consume(partial(consumer.receive, name))
                consumer.subscribed.append((declared, tag))
        except _FAILURES as error:
            raise BrokerError(f"{self._shown}: cannot consume {', '.join(queues)}: {error}") from error
        try:
            yield consumer
        finally:
            await consumer.leave()
            if not channel.is_closed:
                await channel.close()

    async def depth(self, queue: str) -> Depth:
        connection = await self._connected()
        # A passive declaration of a missing queue closes its channel, so it gets one of its own.
        channel = await connection.channel()
        try:
            declared = await channel.declare_queue(queue, passive=True)
            return Depth(declared.declaration_result.message_count or 0, None)
        except _FAILURES as error:
            raise BrokerError(f"no queue {queue}: declare it first (bongsu topology apply): {error}") from error
        finally:
            if not channel.is_closed:
                await channel.close()

    async def dropped(self) -> Mapping[str, int]:
        """Nothing: RabbitMQ counts what it sheds in its own metrics (`rabbitmq_global_messages_dead_lettered…`)."""
        return {}

    async def dead_letters(self, queue: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        found: list[DeadLetter] = []
        async with self._dead_messages() as messages:
            async for message in messages:
                letter = _dead_letter(message)
                if queue in (None, letter.queue):
                    found.append(letter)
                if len(found) == limit:
                    break
        return found

    async def replay(self, ids: Iterable[str]) -> int:
        chosen, replayed = set(ids), 0
        async with self._dead_messages() as messages:
            async for message in messages:
                letter = _dead_letter(message)
                if letter.id in chosen:
                    await self._send(letter.queue, letter.message, {})
                    await message.ack()
                    replayed += 1
        return replayed

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed:
            await connection.close()

    async def _connected(self) -> AbstractConnection:
        await self._ready()
        assert self._connection is not None
        return self._connection

    async def _ready(self) -> AbstractChannel:
        """The channel for publishing, on a live connection."""
        async with self._lock:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            try:
                self._connection = await aio_pika.connect(self._url, timeout=10)
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
                dead = await channel.declare_exchange(_DEAD, aio_pika.ExchangeType.FANOUT, durable=True)
                await (await channel.declare_queue(_DEAD, durable=True)).bind(dead)
            except _FAILURES as error:
                raise BrokerError(f"{self._shown}: cannot connect: {error}") from error
            self._channel = channel
            return channel

    async def _drop_connection(self) -> None:
        self._channel = None
        await self.close()

    async def _confirmed(self, publishes: Iterable[Any]) -> None:
        results = await asyncio.gather(*publishes, return_exceptions=True)
        for error in results:
            if isinstance(error, DeliveryError):
                key = getattr(getattr(error.message, "delivery", None), "routing_key", "?")
                raise Unroutable(f"no queue takes {key!r}: declare one (bongsu topology apply)") from error
        for error in results:
            if isinstance(error, _FAILURES):
                await self._drop_connection()
                raise BrokerError(f"{self._shown}: not confirmed: {error}") from error
            if isinstance(error, BaseException):
                raise error

    async def _send(self, key: str, message: Message, headers: Mapping[str, Any], exchange: str = "") -> None:
        channel = await self._ready()
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        outgoing = _outgoing(message, {_KEY: message.routing_key, **headers})
        await self._confirmed([target.publish(outgoing, key, mandatory=True)])

    async def _delay(self, name: str, message: Message, attempts: int, after_s: float) -> None:
        """Park a message in the queue of its delay, from where its TTL returns it to `name`."""
        delay_s = next((d for d in _DELAYS_S if d >= after_s), _DELAYS_S[-1])
        parked = f"bongsu.delay.{delay_s}s"
        channel = await self._ready()
        exchange = await channel.declare_exchange(parked, aio_pika.ExchangeType.FANOUT, durable=True)
        arguments: dict[str, Any] = {
            "x-message-ttl": delay_s * 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-queue-type": "quorum",
        }
        await (await channel.declare_queue(parked, durable=True, arguments=arguments)).bind(exchange)
        await self._send(name, message, {_ATTEMPTS: attempts}, exchange=parked)

    async def _bury(self, name: str, message: Message, attempts: int, reason: str) -> None:
        facts = {_ATTEMPTS: attempts, _REASON: reason, _QUEUE: name, _DEAD_AT: datetime.now(UTC).isoformat()}
        await self._send("", message, facts, exchange=_DEAD)

    @asynccontextmanager
    async def _dead_messages(self) -> AsyncIterator[AsyncIterator[AbstractIncomingMessage]]:
        """Look through the dead letters; what is not acknowledged goes back when the channel closes."""
        connection = await self._connected()
        channel = await connection.channel()
        try:
            dead = await channel.get_queue(_DEAD)

            async def each() -> AsyncIterator[AbstractIncomingMessage]:
                while (message := await dead.get(fail=False)) is not None:
                    yield message

            yield each()
        except _FAILURES as error:
            raise BrokerError(f"{self._shown}: {error}") from error
        finally:
            if not channel.is_closed:
                await channel.close()


@dataclass(slots=True, eq=False)
class _RabbitDelivery:
    broker: RabbitBroker
    consumer: _RabbitConsumer
    queue: str
    incoming: AbstractIncomingMessage
    message: Message

    @property
    def attempt(self) -> int:
        counted = int(str(self.incoming.headers.get(_ATTEMPTS, 0)))
        return counted + int(str(self.incoming.headers.get("x-delivery-count", 0))) + 1

    async def ack(self) -> None:
        await self._finish()

    async def retry(self, reason: str, after_s: float) -> None:
        limit = queue(self.queue).delivery_limit
        if limit is not None and self.attempt >= limit:
            why = f"{reason} (delivery {self.attempt} of {limit})"
            await self.broker._bury(self.queue, self.message, self.attempt, why)
        else:
            await self.broker._delay(self.queue, self.message, self.attempt, after_s)
        await self._finish()

    async def reject(self, reason: str) -> None:
        await self.broker._bury(self.queue, self.message, self.attempt, reason)
        await self._finish()

    async def release(self) -> None:
        if _is_shedding(queue(self.queue)):  # a classic queue, which counts no deliveries and keeps our place
            await self._finish(requeue=True)
            return
        # Requeueing counts against a quorum queue's delivery limit on RabbitMQ < 4.3; a fresh copy does not.
        await self.broker._send(self.queue, self.message, {_ATTEMPTS: self.attempt - 1})
        await self._finish()

    async def _finish(self, *, requeue: bool = False) -> None:
        """Acknowledge last: a crash before this repeats the step above, and loses nothing."""
        try:
            await (self.incoming.nack(requeue=True) if requeue else self.incoming.ack())
        except _FAILURES as error:
            raise BrokerError(f"not acknowledged, will be delivered again: {error}") from error
        finally:
            self.consumer.unanswered.discard(self)


@dataclass(slots=True, eq=False)
class _RabbitConsumer:
    broker: RabbitBroker
    arrived: asyncio.Queue[_RabbitDelivery | None] = field(default_factory=asyncio.Queue)
    unanswered: set[_RabbitDelivery] = field(default_factory=set)
    subscribed: list[tuple[AbstractQueue, str]] = field(default_factory=list)
    is_lost: bool = False

    async def get(self, timeout_s: float | None = None) -> _RabbitDelivery | None:
        try:
            async with asyncio.timeout(timeout_s):
                delivery = await self.arrived.get()
        except TimeoutError:
            return None
        if delivery is None:
            self.arrived.put_nowait(None)
            raise BrokerError(f"{self.broker._shown}: the connection was lost")
        return delivery

    async def receive(self, name: str, incoming: AbstractIncomingMessage) -> None:
        delivery = _RabbitDelivery(self.broker, self, name, incoming, _message(incoming))
        self.unanswered.add(delivery)
        self.arrived.put_nowait(delivery)

    def lose(self) -> None:
        """The channel is gone, and the broker redelivers what we held."""
        self.is_lost = True
        self.unanswered.clear()
        self.arrived.put_nowait(None)

    async def leave(self) -> None:
        if not self.is_lost:
            # First unsubscribe, or what we give back would come straight back to us.
            for subscribed, tag in self.subscribed:
                await subscribed.cancel(tag)
        for delivery in list(self.unanswered):
            if not self.is_lost:
                await delivery.release()


def _is_shedding(q: Queue) -> bool:
    """Whether the queue drops what is old; that is what it is for, so what it sheds is no dead letter."""
    return q.max_length is not None or q.ttl_s is not None


def _arguments(q: Queue) -> dict[str, Any]:
    if _is_shedding(q):
        arguments: dict[str, Any] = {"x-queue-type": "classic", "x-overflow": "drop-head"}
        if q.max_length is not None:
            arguments["x-max-length"] = q.max_length
        if q.ttl_s is not None:
            arguments["x-message-ttl"] = int(q.ttl_s * 1000)
        return arguments
    arguments = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": _DEAD,
        "x-dead-letter-routing-key": q.name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    if q.delivery_limit is not None:
        arguments["x-delivery-limit"] = q.delivery_limit
    return arguments


def _outgoing(message: Message, extra: Mapping[str, Any] | None = None) -> aio_pika.Message:
    return aio_pika.Message(
        message.body,
        headers={**message.headers, **(extra or {})},
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=uuid.uuid4().hex,
    )


def _message(incoming: AbstractIncomingMessage) -> Message:
    headers = {k: str(v) for k, v in incoming.headers.items() if k not in _OURS and not k.startswith("x-")}
    return Message(str(incoming.headers.get(_KEY, incoming.routing_key or "")), incoming.body, headers)


def _dead_letter(incoming: AbstractIncomingMessage) -> DeadLetter:
    headers: Mapping[str, Any] = incoming.headers
    if _QUEUE in headers:
        name, reason = str(headers[_QUEUE]), str(headers[_REASON])
        dead_at, attempts = datetime.fromisoformat(str(headers[_DEAD_AT])), int(headers[_ATTEMPTS])
    else:  # RabbitMQ itself gave up: its workers died with the message in hand
        death = headers["x-death"][0]
        name, attempts = str(death["queue"]), int(headers.get("x-delivery-count", 0))
        reason, dead_at = f"its worker died or stalled ({death['reason']})", death["time"].replace(tzinfo=UTC)
    message = _message(incoming)
    if _KEY not in headers:
        message = Message(name.partition(".")[0], message.body, message.headers)
    return DeadLetter(f"{name}:{incoming.message_id}", name, reason, dead_at, attempts, message)
