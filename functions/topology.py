"""The queues as data: their names, limits and bindings, the same for every broker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

EXCHANGE = "bongsu"
MOTION = "motion"
DEAD = f"{EXCHANGE}.dead"
"""Where every dead letter is kept, whatever queue it died in."""
DELAYS_S = (1, 2, 5, 10, 30, 60, 300)
"""How long a retry may be parked. RabbitMQ expires messages at a queue's head only, so each delay has its own queue."""
_QUEUE = re.compile(r"[a-z][a-z0-9_-]{0,62}(\.[a-z][a-z0-9_]{0,40})?")


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue and its limits; 0 or None means unlimited."""

    name: str
    routing_key: str
    delivery_limit: int | None = None
    """Failed deliveries after which a message becomes a dead letter."""
    max_length: int | None = None
    """Messages kept; one more drops the oldest (counted, never silent)."""
    ttl_s: float | None = None
    """Age after which a waiting message is dropped (counted)."""

    @property
    def is_shedding(self) -> bool:
        """Whether it drops what is old; that is what it is for, so what it sheds is no dead letter."""
        return self.max_length is not None or self.ttl_s is not None


def delay(after_s: float) -> int:
    """The shortest of `DELAYS_S` that is at least so long, else the longest."""
    return next((d for d in DELAYS_S if d >= after_s), DELAYS_S[-1])


def delay_name(delay_s: int) -> str:
    """The queue in which retries wait for so many seconds."""
    return f"{EXCHANGE}.delay.{delay_s}s"


def queue_name(event_type: str, function: str) -> str:
    """`<type>.<function>`: every function has its own copy of an event. `motion` has one reader, so one queue."""
    return MOTION if event_type == MOTION else f"{event_type}.{function}"


def queue(name: str) -> Queue:
    """The queue of that name, with the limits its kind has.

    Raises:
        ValueError: the name is not `motion` or `<type>.<function>`.
    """
    if not _QUEUE.fullmatch(name) or ("." not in name and name != MOTION):
        raise ValueError(f"queue name must be 'motion' or '<type>.<function>', got {name!r}")
    if name == MOTION:
        # A stale frame is worthless: keep the newest bursts, for as long as one could still be news.
        return Queue(name, MOTION, delivery_limit=3, max_length=256, ttl_s=30.0)
    return Queue(name, name.partition(".")[0], delivery_limit=8)


def queues(names: Iterable[str]) -> tuple[Queue, ...]:
    """The queues of those names, each once, in order."""
    return tuple(queue(name) for name in dict.fromkeys(names))
