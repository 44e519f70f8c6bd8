"""What `functions/topology.py` says, as RabbitMQ wants to hear it: queue types, arguments, bindings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from functions.topology import DEAD, DELAYS_S, EXCHANGE, Queue, delay_name

log = structlog.get_logger()

# Quorum queues hand dead letters on at most once unless told so, and at-least-once wants reject-publish.
_KEPT: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


def arguments(q: Queue, *, is_replicated: bool = False) -> dict[str, Any]:
    """The arguments of a queue: shedding and classic (quorum if it is to be replicated), or keeping and quorum."""
    if q.is_shedding:
        # Classic: a quorum queue writes every burst to disk, on every node, for the half minute that it is worth. Where
        # there are several nodes that is the price of detecting on while one of them is away.
        kind = "quorum" if is_replicated else "classic"
        shedding: dict[str, Any] = {"x-queue-type": kind, "x-overflow": "drop-head"}
        if q.max_length is not None:
            shedding["x-max-length"] = q.max_length
        if q.ttl_s is not None:
            shedding["x-message-ttl"] = int(q.ttl_s * 1000)
        if q.moves_to is not None:  # by the exchange without a name, whose routing keys are names of queues
            shedding |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": q.moves_to}
        return shedding
    keeping = {**_KEPT, "x-dead-letter-exchange": DEAD, "x-dead-letter-routing-key": q.name}
    if q.delivery_limit is not None:
        keeping["x-delivery-limit"] = q.delivery_limit
    return keeping


async def declare_base(
    connection: AbstractConnection, channel: AbstractChannel
) -> tuple[AbstractExchange, AbstractExchange]:
    """The topic exchange and the exchange of dead letters, with the one queue that keeps them.

    That queue is classic on purpose: looking through it counts as deliveries, and RabbitMQ 4 gives every quorum queue
    a delivery limit, after which a dead letter with nowhere to go would be dropped.
    """
    topic = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    dead = await channel.declare_exchange(DEAD, aio_pika.ExchangeType.FANOUT, durable=True)
    # A channel of its own, because a refusal closes it: a classic queue lives on one node of a cluster, and with that
    # node away it is there and bound all the same. Quorum queues keep their dead letters until it is back.
    other = await connection.channel(publisher_confirms=False)
    try:
        kept = await other.declare_queue(DEAD, durable=True, arguments={"x-queue-type": "classic"})
        await kept.bind(dead)
        await other.close()
    except ChannelNotFoundEntity as error:
        log.warning("queue_away", queue=DEAD, reason=str(error))
    return topic, dead


async def declare_delay(channel: AbstractChannel, delay_s: int) -> AbstractExchange:
    """The queue in which a retry waits so long, from where its TTL returns it to the queue of its routing key."""
    name = delay_name(delay_s)
    exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.FANOUT, durable=True)
    parked = await channel.declare_queue(
        name, durable=True, arguments={**_KEPT, "x-message-ttl": delay_s * 1000, "x-dead-letter-exchange": ""}
    )
    await parked.bind(exchange)
    return exchange


async def declare_delays(connection: AbstractConnection) -> None:
    """All delays, before a retry needs one; each use of a delay declares it too, should somebody have deleted it.

    A node that is killed within about a second after it created a quorum queue forgets that it is a member: what the
    queue held, confirmed or not, is gone, and it has no leader any more (seen on 3.10, rabbitmq-server issue 15725).
    The first retry would have been in such a queue.
    """
    channel = await connection.channel(publisher_confirms=False)
    try:
        # They are created in order, so the last is there only after the others: one question instead of twenty-one.
        await channel.declare_exchange(delay_name(DELAYS_S[-1]), aio_pika.ExchangeType.FANOUT, passive=True)
    except ChannelNotFoundEntity:
        # The refusal closed the channel.
        channel = await connection.channel(publisher_confirms=False)
        for delay_s in DELAYS_S:
            await declare_delay(channel, delay_s)
    finally:
        if not channel.is_closed:
            await channel.close()


async def declare_queues(
    connection: AbstractConnection, queues: Iterable[Queue], *, replicates_motion: bool = False
) -> list[str]:
    """Create and bind queues; those that exist keep what they have. Returns what differs, a line for each."""
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
                log.warning("queue_away", queue=q.name, reason=str(error))
                channel = await connection.channel(publisher_confirms=False)
                continue
            await declared.bind(EXCHANGE, q.routing_key)
    finally:
        if not channel.is_closed:
            await channel.close()
    return differing


def _difference(told: str) -> str:
    """RabbitMQ's own words, without what is the same for all: "'x-delivery-limit': received 8, but current is 5"."""
    _, marker, rest = told.partition("inequivalent arg ")
    return rest if marker else told
