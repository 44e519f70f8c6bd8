"""What every broker promises; `tests/functions/test_broker_contract.py` holds all of them to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from prometheus_client import Counter

from functions.event import Message
from functions.topology import Queue

shed_total = Counter("bongsu_queue_dropped_total", "Messages that a queue shed, by its length or their age", ["queue"])
"""Counted by the embedded brokers; RabbitMQ counts what it sheds in its own metrics."""


class BrokerError(Exception):
    """The broker could not do what was asked; the message names it and the fix. Safe to retry."""


class Unroutable(BrokerError):
    """No queue takes this routing key, so the message would have been lost."""


class NotPermitted(Unroutable):
    """The user we sign in as may not publish this, so no queue will ever take it from us."""


class TooLarge(BrokerError):
    """The broker takes no message of this size; the same again would be of no use."""


class QueueDiffers(BrokerError):
    """A queue exists with other limits than ours. It was kept and works; the message says what differs."""


@dataclass(frozen=True, slots=True)
class Depth:
    """What is in a queue; None where the broker does not tell."""

    ready: int
    """Messages that wait."""
    unacked: int | None
    """Messages with a consumer."""
    published: int | None = None
    """Messages that were ever put into it: what a reader who looks now and then would miss."""


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
    """For the embedded brokers, which serve one machine.

    Raises:
        BrokerError: one of these queues moves what it sheds to another.
    """
    for queue in queues:
        if queue.moves_to is not None:
            raise BrokerError(f"queue {queue.name}: queues by region need RabbitMQ (BONGSU_BROKER_URL=amqp://…)")


class Delivery(Protocol):
    """One message in a consumer's hands. Exactly one of ack, retry, reject, release must be called."""

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
        """How many of the deliveries before ended with their worker or its connection, as far as the broker tells."""

    async def ack(self) -> None:
        """Done: forget the message."""

    async def retry(self, reason: str, after_s: float) -> None:
        """Deliver again after `after_s` seconds, 300 at most; at the queue's delivery limit, keep as a dead letter."""

    async def reject(self, reason: str) -> None:
        """Keep as a dead letter at once."""

    async def release(self) -> None:
        """Give back unhandled, at once and uncounted: this consumer is leaving."""


class Consumer(Protocol):
    """A subscription to some queues."""

    def get_nowait(self) -> Delivery | None:
        """A delivery that is here already; None says only that `get` has to be asked."""

    async def get(self, timeout_s: float | None = None) -> Delivery | None:
        """The next delivery, oldest first; None if none came in `timeout_s` seconds (None waits for ever)."""

    async def resize(self, prefetch: int) -> None:
        """Hold at most so many from now on, and give back those beyond that nobody has taken; 0: take none.

        Raises:
            BrokerError: the connection was lost.
        """


class Broker(Protocol):
    """Publish, consume, measure, and keep what failed."""

    async def declare(self, queues: Iterable[Queue]) -> None:
        """Create these queues where they are missing. Idempotent.

        Raises:
            BrokerError: one of them moves what it sheds, and this broker cannot do that.
            QueueDiffers: some exist with other limits; they are kept as they are, the others were created.
        """

    async def ensure(self, queues: Iterable[Queue]) -> None:
        """Create those of these queues that are missing; those that exist are left alone, whatever their limits.

        A broker on which we may declare nothing is only asked whether they are there.

        Raises:
            BrokerError: one is missing and we may not create it, or it moves what it sheds and this broker cannot.
        """

    async def publish(self, *messages: Message) -> None:
        """Hand over messages; on return they are kept, each in every queue bound to its routing key.

        Raises:
            Unroutable: no queue takes a routing key; the others of this call may have been kept.
            NotPermitted: we may not publish with a routing key; the others of this call may have been kept.
            TooLarge: the broker takes no message of such a size; the others of this call may have been kept.
            BrokerError: not kept, or not known to be; publish again (delivery is at least once).
        """

    def consume(self, queues: Sequence[str], prefetch: int = 1) -> AbstractAsyncContextManager[Consumer]:
        """Take from these queues, with at most `prefetch` unacknowledged. Leaving gives back what is unanswered.

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
        """Let go of connections and files. Idempotent."""
