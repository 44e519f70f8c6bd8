"""A memory broker that records what a function does; `functions.testing` runs functions over it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from functions.broker import Consumer, DeadLetter, Delivery, Depth
from functions.broker.memory import MemoryBroker
from functions.event import Event, Message, decode
from functions.topology import Queue, queue_name, queues


@dataclass(frozen=True, slots=True)
class RetriedEvent:
    """A failed delivery, after which the event was delivered again or became a dead letter."""

    event: Event
    reason: str
    after_s: float
    """Seconds that a worker would have waited before the next delivery."""
    attempt: int
    """The number of the delivery, from 1."""


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that became a dead letter: it was rejected, or reached its queue's delivery limit."""

    event: Event
    reason: str
    attempts: int
    """Number of deliveries, including the last."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of the events that a function was given; each tuple is in the order in which it happened."""

    handled: tuple[Event, ...]
    """Events whose handler returned and whose outputs were published."""
    published: tuple[Event, ...]
    """Events that handlers returned, decoded from the wire form, with the function's stage at the end of the trace."""
    retried: tuple[RetriedEvent, ...]
    """Failed deliveries, by `Retry`, a timeout or any other error."""
    dead: tuple[DeadEvent, ...]
    """Dead letters, by `Reject` or at the delivery limit."""


@dataclass(slots=True)
class RecordingBroker:
    """A memory broker that records the outcome of each delivery; a retry is delivered at once."""

    has_any_reader: bool
    memory: MemoryBroker = field(default_factory=MemoryBroker)
    handled: list[Event] = field(default_factory=list)
    published: list[Event] = field(default_factory=list)
    retried: list[RetriedEvent] = field(default_factory=list)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def declare(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing."""
        await self.memory.declare(queues)

    async def ensure(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing."""
        await self.memory.ensure(queues)

    async def publish(self, *messages: Message) -> None:
        """Publish what a handler returned, and record it.

        Raises:
            Unroutable: no queue takes a routing key, and readers were named.
        """
        if self.has_any_reader:
            await self.declare(queues(queue_name(message.routing_key, "reader") for message in messages))
        await self.memory.publish(*messages)
        self.published += [decode(message.body) for message in messages]

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], prefetch: int = 1) -> AsyncIterator[Consumer]:
        """Consume from these queues; the outcome of each delivery is recorded."""
        async with self.memory.consume(queues, prefetch) as consumer:
            yield _RecordedConsumer(self, consumer)

    async def depth(self, queue: str) -> Depth:
        """Count one queue's messages."""
        return await self.memory.depth(queue)

    async def dead_letters(self, queue: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Dead letters, oldest first."""
        return await self.memory.dead_letters(queue, limit)

    async def replay(self, ids: Iterable[str]) -> int:
        """Put dead letters back; returns how many."""
        return await self.memory.replay(ids)

    async def close(self) -> None:
        """Nothing to close."""
        await self.memory.close()

    async def count(self, names: Iterable[str]) -> str:
        """A description of what is left in these queues; empty if nothing is."""
        depths = {name: await self.depth(name) for name in names}
        return ", ".join(
            f"{name}: {depth.ready} waiting, {depth.unacked} in work"
            for name, depth in depths.items()
            if depth.ready or depth.unacked
        )

    async def drain(self, names: Sequence[str]) -> None:
        """Return once nothing is left in these queues."""
        while await self.count(names):
            self.settled.clear()
            # A burst that is too old leaves its queue without being settled, hence the limit.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self.settled.wait()

    async def sum_up(self) -> Outcome:
        """The outcome of the events so far."""
        letters = await self.dead_letters(limit=1_000_000)
        dead = tuple(DeadEvent(decode(d.message.body), d.reason, d.attempts) for d in letters)
        return Outcome(tuple(self.handled), tuple(self.published), tuple(self.retried), dead)


@dataclass(frozen=True, slots=True)
class _RecordedConsumer:
    recorder: RecordingBroker
    consumer: Consumer

    def get_nowait(self) -> Delivery | None:
        delivery = self.consumer.get_nowait()
        return None if delivery is None else _RecordedDelivery(self.recorder, delivery)

    async def get(self, timeout_s: float | None = None) -> Delivery | None:
        delivery = await self.consumer.get(timeout_s)
        return None if delivery is None else _RecordedDelivery(self.recorder, delivery)

    async def resize(self, prefetch: int) -> None:
        await self.consumer.resize(prefetch)


@dataclass(frozen=True, slots=True)
class _RecordedDelivery:
    recorder: RecordingBroker
    delivery: Delivery

    @property
    def queue(self) -> str:
        return self.delivery.queue

    @property
    def message(self) -> Message:
        return self.delivery.message

    @property
    def attempt(self) -> int:
        return self.delivery.attempt

    @property
    def deaths(self) -> int:
        return self.delivery.deaths

    async def ack(self) -> None:
        self.recorder.handled.append(decode(self.message.body))
        await self.delivery.ack()
        self.recorder.settled.set()

    async def retry(self, reason: str, after_s: float) -> None:
        self.recorder.retried.append(RetriedEvent(decode(self.message.body), reason, after_s, self.attempt))
        await self.delivery.retry(reason, 0.0)
        self.recorder.settled.set()

    async def reject(self, reason: str) -> None:
        await self.delivery.reject(reason)
        self.recorder.settled.set()

    async def release(self) -> None:
        await self.delivery.release()
