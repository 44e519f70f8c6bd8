"""Declares the queues of `functions/topology.py` on RabbitMQ: queue types, arguments, bindings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from functions.topology import DEAD, DELAYS_S, EXCHANGE, REQUEUE, Queue, delay_name, retry_name

log = structlog.get_logger()

# Quorum queues forward dead letters at most once unless configured so, and at-least-once requires reject-publish.
_KEPT: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


def arguments(q: Queue, *, is_replicated: bool = False) -> dict[str, Any]:
    """The arguments of a queue: a shedding one is classic (quorum if it is to be replicated), any other is quorum."""
    if q.is_shedding:
        # Classic: a quorum queue writes every burst to disk on every node, though a burst is useful for half a minute.
        # With several nodes, that is the price of detecting while one of them is down.
        kind = "quorum" if is_replicated else "classic"
        shedding: dict[str, Any] = {"x-queue-type": kind, "x-overflow": "drop-head"}
        if q.max_length is not None:
            shedding["x-max-length"] = q.max_length
        if q.ttl_s is not None:
            shedding["x-message-ttl"] = int(q.ttl_s * 1000)
        if q.moves_to is not None:  # by the default exchange, whose routing keys are names of queues
            shedding |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": q.moves_to}
        return shedding
    keeping = {**_KEPT, "x-dead-letter-exchange": DEAD, "x-dead-letter-routing-key": q.name}
    if q.delivery_limit is not None:
        keeping["x-delivery-limit"] = q.delivery_limit
    return keeping


async def require_base(connection: AbstractConnection) -> None:
    """Make sure that the exchanges and the dead letter queue exist: check, which any user may, then declare.

    Raises:
        ChannelAccessRefused: something is missing, and this user may not declare it.
    """
    if await _are_there(connection, exchanges=(EXCHANGE, REQUEUE, DEAD), queues=(DEAD,)):
        return
    async with _channel(connection) as channel:
        for name in (EXCHANGE, REQUEUE):
            await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
        dead = await channel.declare_exchange(DEAD, aio_pika.ExchangeType.FANOUT, durable=True)
        # Classic on purpose: browsing a quorum queue counts as deliveries, and RabbitMQ 4 gives every quorum queue a
        # delivery limit, beyond which a dead letter would be dropped.
        kept = await channel.declare_queue(DEAD, durable=True, arguments={"x-queue-type": "classic"})
        await kept.bind(dead)


async def require_delay(connection: AbstractConnection, delay_s: int) -> None:
    """Make sure that a delay queue exists; its TTL returns a retry to the queue that its routing key names.

    The exchange in front of it is a topic exchange because RabbitMQ has rights by routing key for no other kind.

    Raises:
        ChannelAccessRefused: it is missing, and this user may not declare it.
    """
    if await _are_there(connection, exchanges=(retry_name(delay_s),), queues=(delay_name(delay_s),)):
        return
    async with _channel(connection) as channel:
        exchange = await channel.declare_exchange(retry_name(delay_s), aio_pika.ExchangeType.TOPIC, durable=True)
        parked = await channel.declare_queue(
            delay_name(delay_s),
            durable=True,
            arguments={**_KEPT, "x-message-ttl": delay_s * 1000, "x-dead-letter-exchange": ""},
        )
        await parked.bind(exchange, "#")


async def require_delays(connection: AbstractConnection) -> None:
    """Create all delays before a retry needs one. The first use of each checks again, in case it was deleted.

    A node that is killed within about a second after it created a quorum queue forgets that it is a member: the
    queue's messages, confirmed or not, are lost, and it has no leader (seen on 3.10, rabbitmq-server issue 15725).
    If delays were created on demand, the first retry would be in such a queue.
    """
    # They are created in order, so the last exists only if the others do: one check instead of fourteen.
    if not await _are_there(connection, exchanges=(retry_name(DELAYS_S[-1]),)):
        for delay_s in DELAYS_S:
            await require_delay(connection, delay_s)


async def missing_queues(connection: AbstractConnection, queues: Iterable[Queue]) -> list[Queue]:
    """Which of these queues do not exist."""
    missing = []
    channel = await connection.channel(publisher_confirms=False)
    try:
        for q in queues:
            try:
                await channel.declare_queue(q.name, passive=True)
            except ChannelNotFoundEntity as error:
                if not _is_away(error):
                    missing.append(q)
                # The refusal closed the channel.
                channel = await connection.channel(publisher_confirms=False)
    finally:
        if not channel.is_closed:
            await channel.close()
    return missing


async def _are_there(
    connection: AbstractConnection, *, exchanges: Sequence[str] = (), queues: Sequence[str] = ()
) -> bool:
    """Whether all of these exist. The check needs no permission, and its own channel: a "no" closes it."""
    try:
        async with _channel(connection) as channel:
            for name in exchanges:
                await channel.declare_exchange(name, passive=True)
            for name in queues:
                await channel.declare_queue(name, passive=True)
    except ChannelNotFoundEntity as error:
        return _is_away(error)
    return True


def _is_away(error: ChannelNotFoundEntity) -> bool:
    """Whether a queue exists although it is unreachable: a classic one is on one node, and that node is down."""
    if "down or inaccessible" not in str(error):
        return False
    log.warning("queue_away", reason=str(error))
    return True


@asynccontextmanager
async def _channel(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    channel = await connection.channel(publisher_confirms=False)
    try:
        yield channel
    finally:
        if not channel.is_closed:
            await channel.close()


async def declare_queues(
    connection: AbstractConnection, queues: Iterable[Queue], *, replicates_motion: bool = False
) -> list[str]:
    """Create and bind queues; existing ones keep their arguments. Returns a line for each that differs."""
    differing = []
    channel = await connection.channel(publisher_confirms=False)
    try:
        for q in queues:
            try:
                wanted = arguments(q, is_replicated=replicates_motion)
                declared = await channel.declare_queue(q.name, durable=True, arguments=wanted)
            except ChannelPreconditionFailed as error:
                differing.append(f"queue {q.name} exists with other arguments: {_difference(str(error))}")
                # The refusal closed the channel.
                channel = await connection.channel(publisher_confirms=False)
                declared = await channel.get_queue(q.name, ensure=False)
            except ChannelNotFoundEntity as error:
                if not _is_away(error):
                    raise
                channel = await connection.channel(publisher_confirms=False)
                continue
            await declared.bind(EXCHANGE, q.routing_key)
            await declared.bind(REQUEUE, q.name)
    finally:
        if not channel.is_closed:
            await channel.close()
    return differing


def _difference(error: str) -> str:
    """The part of RabbitMQ's error that names the difference: "'x-delivery-limit': received 8, but current is 5"."""
    _, marker, rest = error.partition("inequivalent arg ")
    return rest if marker else error
