"""The queues as data: their names, limits and bindings, the same for every broker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

EXCHANGE = "bongsu"
MOTION = "motion"
EDGE_QUEUES = (MOTION, "camera.map")
"""Queues that an edge worker publishes to. It declares them, so that its events are routable before a reader ran."""
DEAD = f"{EXCHANGE}.dead"
"""The queue that holds the dead letters of all queues."""
REQUEUE = f"{EXCHANGE}.requeue"
"""The exchange for a message that goes to one queue, by that queue's name: requeued, or replayed."""
DELAYS_S = (1, 2, 5, 10, 30, 60, 300)
"""The possible delays of a retry. RabbitMQ expires messages only at a queue's head, so each delay has its own queue."""
REGION_WAIT_S = 10.0
"""How long a burst waits for its region's own detector: as long as a cold start takes, but not longer."""
_QUEUE = re.compile(r"[a-z][a-z0-9_-]{0,62}(\.[a-z][a-z0-9_]{0,40})?")
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue and its limits; 0 or None means unlimited."""

    name: str
    routing_key: str
    delivery_limit: int | None = None
    """Failed deliveries after which a message becomes a dead letter."""
    max_length: int | None = None
    """The most messages kept; one more drops the oldest (counted, never silent)."""
    ttl_s: float | None = None
    """Age after which a waiting message is dropped (counted)."""
    moves_to: str | None = None
    """The queue that gets, as new messages, what this one would drop. Only RabbitMQ can do this."""

    @property
    def is_shedding(self) -> bool:
        """Whether it drops old messages by design; those do not become dead letters."""
        return self.max_length is not None or self.ttl_s is not None


def delay(after_s: float) -> int:
    """The shortest of `DELAYS_S` that is at least `after_s`, else the longest."""
    return next((d for d in DELAYS_S if d >= after_s), DELAYS_S[-1])


def delay_name(delay_s: int) -> str:
    """The queue in which retries wait for that many seconds."""
    return f"{EXCHANGE}.delay.{delay_s}s"


def retry_name(delay_s: int) -> str:
    """The exchange in front of that queue; the routing key is the queue to which a message returns."""
    return f"{EXCHANGE}.retry.{delay_s}s"


def read_regions(text: str) -> tuple[str, ...]:
    """The regions of a comma-separated list, in lower case, as in the names of their queues.

    Raises:
        ValueError: a region cannot name a queue, or is listed twice.
    """
    regions = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for region in regions:
        if not _REGION.fullmatch(region):
            raise ValueError(f"a region must be 1 to 40 letters, digits and '-', as in Seoul,Incheon, got {region!r}")
        if regions.count(region) > 1:
            raise ValueError(f"region {region!r} is listed twice: upper and lower case count as the same")
    return regions


def burst_queue(region: str, regions: Iterable[str]) -> str:
    """The queue of a region's bursts, and their routing key: `motion.<region>` if it is listed, else `motion`."""
    region = region.strip().lower()
    return f"{MOTION}.{region}" if region in regions else MOTION


def queue_name(event_type: str, function: str, bursts: str = MOTION) -> str:
    """`<type>.<function>`: every function has its own copy of an event. Bursts have one reader, so one queue."""
    return bursts if event_type == MOTION else f"{event_type}.{function}"


def queue(name: str) -> Queue:
    """The queue of that name, with the limits of its kind.

    Raises:
        ValueError: the name is not `motion`, `motion.<region>` or `<type>.<function>`.
    """
    kind, _, region = name.partition(".")
    if kind == MOTION and _REGION.fullmatch(region):
        # Bursts that nobody there takes in time, or that are too many, move on instead of being dropped.
        return replace(queue(MOTION), name=name, routing_key=name, ttl_s=REGION_WAIT_S, moves_to=MOTION)
    if not _QUEUE.fullmatch(name) or ("." not in name and name != MOTION):
        raise ValueError(f"queue name must be 'motion' or '<type>.<function>', got {name!r}")
    if name == MOTION:
        # A stale frame is worthless: keep the newest bursts, while they could still be news. The bound gives priority
        # to the newest: under overload a burst waits at most until 256 newer ones have come. Taking the newest of those
        # that a consumer holds was tried instead: it gains nothing, and starves the rest (bench/overload.py).
        return Queue(name, MOTION, delivery_limit=3, max_length=256, ttl_s=30.0)
    return Queue(name, kind, delivery_limit=8)


def queues(names: Iterable[str]) -> tuple[Queue, ...]:
    """The queues of those names, each once, in order. A queue that another moves to comes first, as it must exist."""
    wanted = [queue(name) for name in names]
    return tuple(dict.fromkeys(q for one in wanted for q in (*_moved_to(one), one)))


def _moved_to(one: Queue) -> tuple[Queue, ...]:
    return () if one.moves_to is None else (queue(one.moves_to),)
