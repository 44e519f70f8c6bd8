"""The publishing link of `RabbitBroker`: a connection, its channel, and the exchanges that were found there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange

from functions.broker.rabbit_acks import FAILURES, guarded
from functions.broker.rabbit_queues import require_base, require_delay
from functions.topology import DEAD, EXCHANGE, REQUEUE, retry_name


@dataclass(frozen=True, slots=True)
class Parcel:
    """One publish: to the topic exchange (""), the dead letters, one queue (`REQUEUE`), or a delay in seconds."""

    exchange: str
    key: str
    message: aio_pika.Message


@dataclass(slots=True, eq=False)
class Link:
    """A connection and channel for publishing, and the exchanges that are known to exist there."""

    connection: AbstractConnection
    channel: AbstractChannel
    exchanges: dict[str, AbstractExchange]

    @classmethod
    async def open(cls, connection: AbstractConnection) -> Link:
        """Open a channel on this connection, and make sure that the exchanges to publish to exist.

        Raises:
            AMQPError: an exchange is missing and this user may not declare it, or the connection was lost.
        """
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await require_base(connection)
        named = {"": EXCHANGE, DEAD: DEAD, REQUEUE: REQUEUE}
        return cls(connection, channel, {k: await channel.get_exchange(n, ensure=False) for k, n in named.items()})

    @property
    def is_alive(self) -> bool:
        """Whether both connection and channel are open."""
        return not self.channel.is_closed and not self.connection.is_closed

    async def exchange(self, name: str) -> AbstractExchange:
        """The exchange of that name; a delay, named by its seconds, is checked at its first use."""
        if name not in self.exchanges:
            await require_delay(self.connection, int(name))
            self.exchanges[name] = await self.channel.get_exchange(retry_name(int(name)), ensure=False)
        return self.exchanges[name]

    def forget(self, name: str) -> bool:
        """Check a delay again before its next use, because its queue was deleted; returns whether it is a delay."""
        if name in ("", DEAD, REQUEUE):
            return False
        self.exchanges.pop(name, None)
        return True


async def close_quietly(connection: AbstractConnection) -> None:
    """Close a connection that may be broken already, without waiting long for the peer."""
    try:
        async with asyncio.timeout(1):
            await guarded(connection.close())
    except FAILURES:
        return
