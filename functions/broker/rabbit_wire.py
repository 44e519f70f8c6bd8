"""Converts our messages to AMQP and back; a message that is read may have been published by anybody."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from pamqp.header import ContentHeader

from functions.broker.base import DeadLetter
from functions.event import CONTENT_TYPE, Message
from functions.topology import MOTION, Queue

ATTEMPTS, _REASON, _QUEUE, _DEAD_AT, _KEY = (
    "x-bongsu-attempts",
    "x-bongsu-reason",
    "x-bongsu-queue",
    "x-bongsu-dead-at",
    "x-bongsu-routing-key",
)
_MORE_KEYS = ("CC", "BCC")
"""Headers by which RabbitMQ routes a copy of a message to further queues."""
_MOST_ATTEMPTS = 10_000
_MOST_REASON = 2_000
_MOST_HEADERS = 32
_MOST_HEADER = 500
"""Characters. Headers travel in one frame of 128 KiB; a broker that receives a larger one closes the connection."""

_unmarshal = ContentHeader.unmarshal


def _unmarshal_what_can_be(header: ContentHeader, data: bytes) -> None:
    """Read a message's properties as far as they can be read.

    The driver closes the connection over a time stamp of the year 60,000 or a table nested too deep, although it knows
    by then where the message ends. The message would be delivered again and close the next connection too.
    """
    with contextlib.suppress(ValueError, OverflowError, OSError, RecursionError):
        _unmarshal(header, data)


ContentHeader.unmarshal = _unmarshal_what_can_be  # type: ignore[method-assign, assignment]


def outgoing(message: Message, extra: Mapping[str, Any] | None = None) -> aio_pika.Message:
    """The message to publish. With `extra`, its routing key is kept in a header, as it goes to a queue by name."""
    headers: dict[str, Any] = {**message.headers, **extra, _KEY: message.routing_key} if extra else {**message.headers}
    return aio_pika.Message(
        message.body,
        headers=headers,
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=uuid.uuid4().hex,
    )


def buried(message: Message, queue: str, attempts: int, reason: str) -> aio_pika.Message:
    """The message as a dead letter."""
    facts = {ATTEMPTS: attempts, _REASON: reason[:_MOST_REASON], _QUEUE: queue}
    return outgoing(message, {**facts, _DEAD_AT: datetime.now(UTC).isoformat()})


def read_message(headers: Mapping[str, Any], routing_key: str | None, body: bytes) -> Message:
    """The message as published, without headers that brokers and we have added."""
    ours = ((k, v) for k, v in headers.items() if not k.startswith("x-") and k not in _MORE_KEYS)
    kept = {k: str(v)[:_MOST_HEADER] for k, v in islice(ours, _MOST_HEADERS)}
    return Message(str(headers.get(_KEY, routing_key or ""))[:_MOST_HEADER], body, kept)


def came_by(queue: Queue, routing_key: str) -> bool:
    """Whether a message with that routing key belongs in a queue: as its type of event, or sent to it by its name.

    RabbitMQ routes by the headers CC and BCC too, and before 4.0 it checks a publisher's permission for the routing
    key alone: a user that may publish `camera` could reach any queue of the exchange.
    """
    return routing_key in (queue.routing_key, queue.name) or queue.name == MOTION == routing_key.partition(".")[0]


def read_attempt(headers: Mapping[str, Any]) -> int:
    """The number of this delivery, from 1: our own retries, plus the queue's count since the last of them."""
    return _count(headers.get(ATTEMPTS)) + read_deaths(headers) + 1


def read_deaths(headers: Mapping[str, Any]) -> int:
    """How often a quorum queue got this message back because its consumer died; a classic one does not count."""
    return _count(headers.get("x-delivery-count"))


def read_dead_letter(incoming: AbstractIncomingMessage) -> DeadLetter:
    """A dead letter: put there by us, by RabbitMQ, or by hand."""
    headers: Mapping[str, Any] = incoming.headers
    queue, reason, dead_at = str(headers.get(_QUEUE, "")), str(headers.get(_REASON, "")), _time(headers.get(_DEAD_AT))
    attempts = _count(headers.get(ATTEMPTS))
    message = read_message(headers, incoming.routing_key, incoming.body)
    if not queue:  # RabbitMQ itself gave up, because the workers that held the message died
        death = _first_death(headers)
        queue = str(death.get("queue", incoming.routing_key or ""))
        why = death.get("reason")
        reason = f"its worker died or stalled ({why})" if why else "put among the dead letters by hand"
        dead_at = _time(death.get("time"))
        attempts += _count(headers.get("x-delivery-count"))
    if _KEY not in headers:
        message = Message(queue.partition(".")[0], message.body, message.headers)
    named = incoming.message_id or hashlib.sha256(incoming.body).hexdigest()[:32]
    return DeadLetter(f"{queue}:{named}", queue, reason, dead_at, attempts, message)


def _first_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], Mapping):
        return deaths[0]
    return {}


def _count(value: object) -> int:
    """A count from a header; 0 if it is not a count, because a publisher can write anything there."""
    if value is None:
        return 0
    try:
        return max(0, min(_MOST_ATTEMPTS, int(str(value))))
    except ValueError:
        return 0


def _time(value: object) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
