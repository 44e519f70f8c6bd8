"""The contract of every broker; `tests/functions/test_broker_contract.py` checks it for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from prometheus_client import Counter

from functions.event import Message
from functions.topology import Queue

shed_total = Counter("bongsu_queue_dropped_total", "Messages dropped from a full queue, or for their age", ["queue"])
"""Counted by the embedded brokers; RabbitMQ counts what it drops in its own metrics."""


class BrokerError(Exception):
    """The broker could not do what was asked; the message says what, and the fix. Safe to retry."""


class Unroutable(BrokerError):
    """No queue is bound to this routing key, so the message would have been lost."""


class NotPermitted(Unroutable):
    """The user we sign in as may not publish with this routing key; a retry cannot help."""


class TooLarge(BrokerError):
    """The broker refuses messages of this size; a retry cannot help."""


class QueueDiffers(BrokerError):
    """A queue exists with limits that differ from ours. It was kept and works; the message says what differs."""


@dataclass(frozen=True, slots=True)
class Depth:
    """What is in a queue; None where the broker does not report it."""

    ready: int
    """Messages that wait for a consumer."""
    unacked: int | None
    """Messages that a consumer holds."""
    published: int | None = None
    """Messages ever put into it; unlike `ready`, it also shows those that came and went between two readings."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message nobody could handle, kept with its reason until replayed."""

    id: str
    queue: str
    reason: str
    dead_at: datetime
    attempts: int
    message: Message


def refuse_moving(queues: Iterable[Queue]) -> None:
    """Refuse queues that hand their surplus to another queue; the embedded brokers, for one machine, cannot do that.

    Raises:
        BrokerError: one of these queues moves what it drops to another.
    """
    for queue in queues:
        if queue.moves_to is not None:
            raise BrokerError(f"queue {queue.name}: queues by region need RabbitMQ (BONGSU_BROKER_URL=amqp://…)")


class Delivery(Protocol):
    """One message that a consumer holds. Exactly one of ack, retry, reject, release must be called."""

    @property
    def queue(self) -> str:
        """The queue that it came from."""

    @property
    def message(self) -> Message:
        """What was published."""

    @property
    def attempt(self) -> int:
        """1 at the first delivery."""

    @property
    def deaths(self) -> int:
        """Earlier deliveries that ended because the worker or its connection died, as far as the broker reports it."""

    async def ack(self) -> None:
        """Done: forget the message."""

    async def retry(self, reason: str, after_s: float) -> None:
        """Deliver again after `after_s` seconds, 300 at most; at the queue's delivery limit, keep as a dead letter."""

    async def reject(self, reason: str) -> None:
        """Keep as a dead letter at once."""

    async def release(self) -> None:
        """Give it back unhandled, at once; this does not count as a failed delivery."""


class Consumer(Protocol):
    """A subscription to some queues."""

    def get_nowait(self) -> Delivery | None:
        """A delivery that has arrived already; None if there is none yet: then await `get`."""

    async def get(self, timeout_s: float | None = None) -> Delivery | None:
        """The next delivery, oldest first; None if none came in `timeout_s` seconds (None: wait without a limit)."""

    async def resize(self, prefetch: int) -> None:
        """Hold at most this many from now on, and give back any surplus not handed out yet; 0: take none.

        Raises:
            BrokerError: the connection was lost.
        """


class Broker(Protocol):
    """Publish, consume, measure, and keep what failed."""

    async def declare(self, queues: Iterable[Queue]) -> None:
        """Create these queues where they are missing. Idempotent.

        Raises:
            BrokerError: one of them moves what it drops to another queue, and this broker cannot do that.
            QueueDiffers: some exist with other limits; they are kept as they are, the others were created.
        """

    async def ensure(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing; those that exist are left alone, whatever their limits.

        Where our user may not declare queues, this only checks that they exist.

        Raises:
            BrokerError: one is missing and we may not create it, or it moves what it drops and this broker cannot.
        """

    async def publish(self, *messages: Message) -> None:
        """Publish messages; on return each is stored in every queue bound to its routing key.

        Raises:
            Unroutable: no queue is bound to a routing key; the other messages of this call may have been stored.
            NotPermitted: we may not publish with a routing key; the other messages may have been stored.
            TooLarge: the broker refuses a message of that size; the other messages may have been stored.
            BrokerError: not stored, or not known to be; publish again (delivery is at least once).
        """

    def consume(self, queues: Sequence[str], prefetch: int = 1) -> AbstractAsyncContextManager[Consumer]:
        """Consume from these queues, with at most `prefetch` unacknowledged; on exit, the unsettled are given back.

        Raises:
            BrokerError: a queue does not exist.
        """

    async def depth(self, queue: str) -> Depth:
        """Messages ready and unacked in one queue.

        Raises:
            BrokerError: the queue does not exist.
        """

    async def dead_letters(self, queue: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Dead letters, oldest first, of one queue or of all."""

    async def replay(self, ids: Iterable[str]) -> int:
        """Put dead letters back at the end of the queue they died in, attempts at zero; returns how many."""

    async def close(self) -> None:
        """Close connections and files. Idempotent."""
