"""The two connections of `RabbitBroker`, one to publish and one to consume; a lost one is opened again."""

from __future__ import annotations

import asyncio
import logging

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused
from prometheus_client import Counter
from yarl import URL

from functions.broker.base import BrokerError
from functions.broker.rabbit_acks import FAILURES, explain
from functions.broker.rabbit_link import Link, close_quietly

connections_total = Counter("bongsu_broker_connections_total", "Connections opened to the broker", ["use"])

for _driver in ("aio_pika", "aiormq"):
    # The driver's own log lines about a lost connection are dropped: our log has it once, as a BrokerError's reason.
    logging.getLogger(_driver).setLevel(logging.CRITICAL)

_CONNECT_S = 10.0
_HEARTBEAT_S = 20
"""A peer that vanished silently is noticed after two to three heartbeats; RabbitMQ itself would propose 60 s."""


class RabbitConnections:
    """Opens the connections when they are needed, and drops one that failed."""

    def __init__(self, url: str) -> None:
        """Connections to the broker at `url`; none is open yet."""
        address = URL(url)
        self._url = address if "heartbeat" in address.query else address.update_query(heartbeat=_HEARTBEAT_S)
        self.shown = str(address.with_query(None).with_user(None).with_password(None))
        """The address without its secrets, for messages."""
        self.user = self._url.user
        """The user name."""
        self.link: Link | None = None
        """The connection last opened to publish."""
        # Under a resource alarm RabbitMQ stops reading from connections that publish. Acknowledgements must not wait
        # behind that, or no consumer could empty the queues that raised the alarm. So consumers have their own.
        self.consuming: AbstractConnection | None = None
        """The connection last opened to consume."""
        self._lock = asyncio.Lock()

    async def open_link(self) -> Link:
        """A link to publish through, on a live connection.

        Raises:
            BrokerError: the server does not answer, or this user may not declare what is missing.
        """
        link = self.link
        if link is not None and link.is_alive:
            return link
        async with self._lock:
            link = self.link
            if link is not None and link.is_alive:
                return link
            connection = await self._connect("publish")
            try:
                self.link = await Link.open(connection)
            except FAILURES as error:
                await close_quietly(connection)
                raise self.undeclared("cannot connect", error) from error
            return self.link

    async def open_consuming(self) -> AbstractConnection:
        """The connection for consuming, opened again if it was lost.

        Raises:
            BrokerError: the server does not answer, or the credentials are refused.
        """
        async with self._lock:
            if self.consuming is None or self.consuming.is_closed:
                self.consuming = await self._connect("consume")
            return self.consuming

    async def drop(self, link: Link) -> None:
        """Drop a connection that failed; the next caller opens another."""
        if self.link is link:
            self.link = None
        await close_quietly(link.connection)

    async def drop_consuming(self, error: Exception) -> None:
        """Drop the connection for consuming, if the connection is what failed."""
        # A missing queue is not the connection's fault. Any other error may be: a closed connection may not look it.
        connection = self.consuming
        if connection is not None and not isinstance(error, ChannelNotFoundEntity):
            self.consuming = None
            await close_quietly(connection)

    async def close(self) -> None:
        """Close both connections."""
        link, self.link = self.link, None
        consuming, self.consuming = self.consuming, None
        for connection in (link.connection if link else None, consuming):
            if connection is not None and not connection.is_closed:
                await connection.close()

    def undeclared(self, what: str, error: BaseException) -> BrokerError:
        """The error for a failed declaration; where this user may not declare, it says what the operator must run."""
        if not isinstance(error, ChannelAccessRefused):
            return BrokerError(f"{self.shown}: {what}: {explain(error)}")
        return BrokerError(
            f"{self.shown}: something is missing that user {self.user!r} may not declare: "
            f"run bongsu topology apply as a user who may ({error})"
        )

    async def _connect(self, use: str) -> AbstractConnection:
        try:
            connection = await aio_pika.connect(self._url, timeout=_CONNECT_S)
        except FAILURES as error:
            raise BrokerError(f"{self.shown}: cannot connect: {explain(error)}") from error
        connections_total.labels(use).inc()
        return connection
