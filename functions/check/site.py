"""The broker as the suite sees it: events for the function under test, and copies of all that it publishes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from functions.broker import BrokerError, connect
from functions.event import encode
from functions.testing import make_event
from functions.topology import DEAD, DELAYS_S, EXCHANGE, REQUEUE, queues, retry_name


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that the function published."""

    exchange: str
    routing_key: str
    headers: dict[str, Any]
    body: bytes
    content_type: str
    is_persistent: bool

    @property
    def fields(self) -> dict[str, Any]:
        """The body as MessagePack, empty where it is none."""
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.msgpack.decode(self.body)
            return found if isinstance(found, dict) else {}
        return {}


@dataclass(slots=True)
class Site:
    """One queue of one function, with taps on what leaves it."""

    queue: str
    publishes: str
    channel: AbstractChannel
    taps: dict[str, AbstractQueue] = field(default_factory=dict)
    outputs: list[Seen] = field(default_factory=list)
    retries: list[Seen] = field(default_factory=list)
    dead: list[Seen] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, event: dict[str, Any] | bytes, *, attempts: int = 0) -> None:
        """Put an event into the queue, as one that was retried so often before."""
        kind = self.queue.partition(".")[0]
        given = {} if isinstance(event, bytes) else event
        headers: dict[str, Any] = {
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": str(given.get("id", "check")),
            "cloudEvents:source": f"/cameras/{given.get('camera', 'check')}/{kind}",
            "cloudEvents:type": kind,
        }
        if attempts:
            headers |= {"x-bongsu-attempts": attempts, "x-bongsu-routing-key": kind}
        body = event if isinstance(event, bytes) else msgspec.msgpack.encode(event)
        message = aio_pika.Message(
            body, headers=headers, content_type="application/msgpack", delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        name, key = (REQUEUE, self.queue) if attempts else (EXCHANGE, kind)
        exchange = await self.channel.get_exchange(name, ensure=False)
        await exchange.publish(message, key)

    async def until(self, holds: Callable[[], bool], timeout_s: float = 20.0) -> bool:
        """Wait for something that a tap shows; whether it came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(holds)
        return holds()

    async def ready(self) -> int:
        """Messages that wait in the function's queue."""
        declared = await self.channel.declare_queue(self.queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def settle(self, timeout_s: float = 20.0) -> int:
        """Wait until the function's queue is empty; what is left in it."""
        for _ in range(int(timeout_s / 0.1)):
            if not (left := await self.ready()):
                break
            await asyncio.sleep(0.1)
        return left

    async def unroute(self) -> None:
        """Leave nobody to read what the function publishes."""
        await self.taps["out"].unbind(EXCHANGE, self.publishes)

    async def route(self) -> None:
        """Read again what it publishes."""
        await self.taps["out"].bind(EXCHANGE, self.publishes)

    async def clear(self) -> None:
        """Forget what was seen, and empty the queues."""
        await (await self.channel.get_queue(self.queue, ensure=False)).purge()
        for delay_s in DELAYS_S:
            await (await self.channel.get_queue(f"{EXCHANGE}.delay.{delay_s}s", ensure=False)).purge()
        self.outputs.clear()
        self.retries.clear()
        self.dead.clear()

    async def _tap(self, name: str, into: list[Seen], bindings: Sequence[tuple[str, str]]) -> None:
        self.taps[name] = tap = await self.channel.declare_queue("", exclusive=True)
        for exchange, key in bindings:
            await tap.bind(exchange, key)

        async def keep(message: AbstractIncomingMessage) -> None:
            is_persistent = message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
            seen = Seen(
                message.exchange or "", message.routing_key or "", dict(message.headers), message.body,
                message.content_type or "", is_persistent,
            )  # fmt: skip
            async with self._news:
                into.append(seen)
                self._news.notify_all()

        await tap.consume(keep, no_ack=True)


def event(**changes: Any) -> dict[str, Any]:
    """The fields of a fire as they travel; `changes` replace them, and those of objects are merged."""
    fields: dict[str, Any] = msgspec.msgpack.decode(encode(make_event("fire")).body)
    return merged(fields, changes)


def merged(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The fields with these changes, as by JSON Merge Patch (RFC 7396), but that null stays null."""
    both = {
        k: merged(fields[k], v) for k, v in changes.items() if isinstance(v, dict) and isinstance(fields.get(k), dict)
    }
    return {**fields, **changes, **both}


@contextlib.asynccontextmanager
async def open_site(url: str, queue: str, publishes: str) -> AsyncIterator[Site]:
    """Declare the queues on a RabbitMQ that nobody else uses, and listen.

    Raises:
        BrokerError: it cannot be reached, or the queue is in use.
    """
    broker = await connect(url)
    connection = None
    try:
        await broker.declare(queues([queue]))
        connection = await aio_pika.connect(url)
        channel = await connection.channel()
        site = Site(queue, publishes, channel)
        result = (await channel.declare_queue(queue, passive=True)).declaration_result
        if result.message_count or result.consumer_count:
            raise BrokerError(f"queue {queue} is in use: point BONGSU_BROKER_URL at a RabbitMQ for this check alone")
        await site._tap("out", site.outputs, [(EXCHANGE, publishes)])
        await site._tap("retries", site.retries, [(retry_name(delay_s), queue) for delay_s in DELAYS_S])
        await site._tap("dead", site.dead, [(DEAD, "")])
        yield site
        await channel.queue_delete(queue)
    finally:
        if connection is not None:
            await connection.close()
        await broker.close()
