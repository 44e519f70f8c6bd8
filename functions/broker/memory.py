"""The broker for tests, within this process, with the same contract; public, so that function authors can use it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from functions.broker.base import BrokerError, DeadLetter, Depth, Unroutable, refuse_moving, shed_total
from functions.event import Message, utc_now
from functions.topology import Queue


class MemoryBroker:
    """A broker whose messages exist only in this process."""

    def __init__(self) -> None:
        """Start empty: no queues, no messages."""
        self._queues: dict[str, Queue] = {}
        self._ready: dict[str, deque[_Entry]] = {}
        self._unacked: Counter[str] = Counter()
        self._published: Counter[str] = Counter()
        self._dead: dict[str, DeadLetter] = {}
        self._changed = asyncio.Condition()
        self._serial = 0

    async def declare(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing; one that exists takes the limits given here.

        Raises:
            BrokerError: a queue moves what it drops to another, which only RabbitMQ can do.
        """
        queues = tuple(queues)
        refuse_moving(queues)
        for queue in queues:
            self._queues[queue.name] = queue
            self._ready.setdefault(queue.name, deque())

    async def ensure(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing."""
        await self.declare([queue for queue in queues if queue.name not in self._queues])

    async def publish(self, *messages: Message) -> None:
        """Put each message into every queue with its routing key.

        Raises:
            Unroutable: no queue is bound to a routing key; then none of these messages was stored.
        """
        for message in messages:
            if not self._bound(message):
                raise Unroutable(f"no queue takes {message.routing_key!r}: declare one (bongsu topology apply)")
        for message in messages:
            for queue in self._bound(message):
                self._published[queue.name] += 1
                await self._put(queue, _Entry(message, self._next(), published_at=time.monotonic()))

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], prefetch: int = 1) -> AsyncIterator[_MemoryConsumer]:
        """Take from these queues, the oldest message of all of them first.

        Raises:
            BrokerError: a queue was not declared.
        """
        for name in queues:
            self._require(name)
        consumer = _MemoryConsumer(self, tuple(queues))
        try:
            yield consumer
        finally:
            for delivery in list(consumer.unanswered):
                await delivery.release()

    async def depth(self, queue: str) -> Depth:
        """Count one queue's messages, those over their age excluded.

        Raises:
            BrokerError: it was not declared.
        """
        self._require(queue)
        self._expire(queue)
        return Depth(len(self._ready[queue]), self._unacked[queue], self._published[queue])

    async def dead_letters(self, queue: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Dead letters of one queue or of all, oldest first, at most `limit`."""
        return [d for d in self._dead.values() if queue in (None, d.queue)][:limit]

    async def replay(self, ids: Iterable[str]) -> int:
        """Put dead letters back into their queues as new, at their end; returns how many there were."""
        letters = [self._dead.pop(i) for i in ids if i in self._dead]
        for letter in letters:
            entry = _Entry(letter.message, self._next(), published_at=time.monotonic())
            await self._put(self._queues[letter.queue], entry)
        return len(letters)

    async def close(self) -> None:
        """Nothing to close: the messages are only in this object."""
        return

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _bound(self, message: Message) -> list[Queue]:
        return [q for q in self._queues.values() if q.routing_key == message.routing_key]

    def _require(self, name: str) -> None:
        if name not in self._queues:
            raise BrokerError(f"no queue {name}: declare it first (bongsu topology apply)")

    async def _put(self, queue: Queue, entry: _Entry) -> None:
        ready = self._ready[queue.name]
        ready.append(entry)
        if len(ready) > 1 and ready[-2].serial > entry.serial:  # a retry goes back to its place in the order
            self._ready[queue.name] = deque(sorted(ready, key=lambda e: e.serial))
        while queue.max_length and len(self._ready[queue.name]) > queue.max_length:
            self._ready[queue.name].popleft()
            shed_total.labels(queue.name).inc()
        async with self._changed:
            self._changed.notify_all()

    def _expire(self, name: str) -> None:
        ttl_s = self._queues[name].ttl_s
        if ttl_s is None:
            return
        fresh = deque(e for e in self._ready[name] if time.monotonic() - e.published_at <= ttl_s)
        if len(fresh) < len(self._ready[name]):
            shed_total.labels(name).inc(len(self._ready[name]) - len(fresh))
        self._ready[name] = fresh

    def _take(self, queues: Sequence[str]) -> tuple[str, _Entry] | None:
        due: list[tuple[int, str, _Entry]] = []
        for name in queues:
            self._expire(name)
            first = next((e for e in self._ready[name] if e.ready_at <= time.monotonic()), None)
            if first is not None:
                due.append((first.serial, name, first))
        if not due:
            return None
        _, name, entry = min(due, key=lambda d: d[0])
        self._ready[name].remove(entry)
        self._unacked[name] += 1
        entry.attempts += 1
        return name, entry

    def _bury(self, queue: str, entry: _Entry, reason: str) -> None:
        id_ = str(self._next())
        self._dead[id_] = DeadLetter(id_, queue, reason, utc_now(), entry.attempts, entry.message)


@dataclass(slots=True, eq=False)
class _Entry:
    message: Message
    serial: int
    published_at: float
    ready_at: float = 0.0
    attempts: int = 0


@dataclass(slots=True, eq=False)
class _MemoryDelivery:
    broker: MemoryBroker
    consumer: _MemoryConsumer
    queue: str
    entry: _Entry

    @property
    def message(self) -> Message:
        return self.entry.message

    @property
    def attempt(self) -> int:
        return self.entry.attempts

    @property
    def deaths(self) -> int:
        return 0

    async def ack(self) -> None:
        self._let_go()

    async def retry(self, reason: str, after_s: float) -> None:
        if not self._let_go():
            return
        limit = self.broker._queues[self.queue].delivery_limit
        if limit is not None and self.entry.attempts >= limit:
            self.broker._bury(self.queue, self.entry, f"{reason} (delivery {self.entry.attempts} of {limit})")
            return
        self.entry.ready_at = time.monotonic() + after_s
        await self.broker._put(self.broker._queues[self.queue], self.entry)

    async def reject(self, reason: str) -> None:
        if self._let_go():
            self.broker._bury(self.queue, self.entry, reason)

    async def release(self) -> None:
        if self._let_go():
            self.entry.attempts -= 1
            await self.broker._put(self.broker._queues[self.queue], self.entry)

    def _let_go(self) -> bool:
        if self not in self.consumer.unanswered:
            return False
        self.consumer.unanswered.remove(self)
        self.broker._unacked[self.queue] -= 1
        return True


@dataclass(slots=True, eq=False)
class _MemoryConsumer:
    """Hands out one message at a time, so it needs no prefetch."""

    broker: MemoryBroker
    queues: tuple[str, ...]
    unanswered: list[_MemoryDelivery] = field(default_factory=list)

    def get_nowait(self) -> _MemoryDelivery | None:
        return None

    async def get(self, timeout_s: float | None = None) -> _MemoryDelivery | None:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            taken = self.broker._take(self.queues)
            if taken is not None:
                delivery = _MemoryDelivery(self.broker, self, *taken)
                self.unanswered.append(delivery)
                return delivery
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            # A delayed retry becomes due without a notification, hence the short wait.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(0.02, left if left is not None else 0.02)), self.broker._changed:
                    await self.broker._changed.wait()

    async def resize(self, prefetch: int) -> None:
        return
