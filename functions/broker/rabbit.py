"""The production broker: RabbitMQ over aio-pika, with confirms, returns, quorum queues and kept dead letters."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import (
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)
from aiormq.exceptions import ChannelAccessRefused
from prometheus_client import Counter
from yarl import URL

from functions.backoff import backoff_s
from functions.broker.base import BrokerError, DeadLetter, Depth, NotPermitted, QueueDiffers, TooLarge, Unroutable
from functions.broker.rabbit_acks import FAILURES, explain
from functions.broker.rabbit_consumer import RabbitConsumer
from functions.broker.rabbit_link import Link, Parcel, close_quietly
from functions.broker.rabbit_queues import declare_queues, missing_queues, require_delays
from functions.broker.rabbit_wire import outgoing, read_dead_letter
from functions.event import Message
from functions.settings import load
from functions.topology import DEAD, REQUEUE, Queue

publishes_total = Counter("bongsu_broker_publishes_total", "Messages published, by what the broker said", ["outcome"])
connections_total = Counter("bongsu_broker_connections_total", "Connections opened to the broker", ["use"])

for _driver in ("aio_pika", "aiormq"):
    # What the driver has to say of a lost connection reaches our log as the reason of a BrokerError, once.
    logging.getLogger(_driver).setLevel(logging.CRITICAL)

_WINDOW = 128
"""Publishes that wait for their confirms together: enough to hide the disk of a quorum queue, 8 MB of snapshots."""
_PATIENCE_S = 6.0
"""How long a publish outlives a lost connection: most restarts of a node are over by then, its caller still waits."""
_CONFIRM_S = 20.0
"""A broker that is out of memory or disk stops reading: it confirms nothing and says nothing."""
_CONNECT_S = 10.0
_HEARTBEAT_S = 20
"""A peer that vanished without a word is noticed after two to three of these; RabbitMQ itself would propose 60 s."""


class RabbitBroker:
    """Topic exchange `bongsu`, a quorum queue per type and function, one queue of dead letters."""

    def __init__(self, url: str, *, replicates_motion: bool = False) -> None:
        """For `open` alone."""
        address = URL(url)
        self._url = address if "heartbeat" in address.query else address.update_query(heartbeat=_HEARTBEAT_S)
        self._shown = str(address.with_query(None).with_user(None).with_password(None))
        self._replicates_motion = replicates_motion
        self._link: Link | None = None
        # Under a resource alarm RabbitMQ stops reading from connections that publish. Acknowledgements must not wait
        # behind that, or no consumer could ever empty the queues that raised the alarm: so they have their own.
        self._consuming: AbstractConnection | None = None
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, url: str) -> RabbitBroker:
        """Connect and make sure that the exchanges and the queue of dead letters exist.

        Raises:
            BrokerError: no answer, or the credentials are refused.
            SettingsError: a value of the environment cannot be used.
        """
        broker = cls(url, replicates_motion=load().motion_replicated)
        await broker._linked()
        return broker

    async def declare(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing, and what retries and dead letters need.

        Raises:
            QueueDiffers: some exist with other limits; they were kept.
            BrokerError: the server cannot be reached, or refuses.
        """
        if differing := await self._declare(queues):
            raise QueueDiffers("; ".join(differing))

    async def ensure(self, queues: Iterable[Queue]) -> None:
        """Look for the queues, and declare those that are missing; a user who may not declare can still look."""
        link = await self._linked()
        try:
            missing = await missing_queues(link.connection, queues)
        except FAILURES as error:
            await self._drop(link)
            raise BrokerError(f"{self._shown}: cannot look for queues: {explain(error)}") from error
        await self._declare(missing)

    async def publish(self, *messages: Message) -> None:
        """Publish and wait for the server's confirms.

        Raises:
            Unroutable: the server returned a message, because no queue takes it.
            TooLarge: a message is over the server's limit.
            BrokerError: not confirmed; publish again.
        """
        await self._send([Parcel("", m.routing_key, outgoing(m)) for m in messages])

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], prefetch: int = 1) -> AsyncIterator[RabbitConsumer]:
        """Take from these queues over the connection that is kept for consuming.

        Raises:
            BrokerError: a queue does not exist, or the connection was lost.
        """
        try:
            consumer = await RabbitConsumer.join(self, queues, await self._consuming_connection(), prefetch)
        except FAILURES as error:
            await self._drop_consuming(error)
            raise BrokerError(f"{self._shown}: cannot consume {', '.join(queues)}: {explain(error)}") from error
        try:
            yield consumer
        finally:
            await consumer.leave()

    async def depth(self, queue: str) -> Depth:
        """Messages ready; the server does not say over AMQP how many are unacked.

        Raises:
            BrokerError: the queue does not exist.
        """
        link = await self._linked()
        try:
            # A passive declaration of a missing queue closes its channel, so it gets one of its own.
            channel = await link.connection.channel(publisher_confirms=False)
            try:
                declared = await channel.declare_queue(queue, passive=True)
                return Depth(declared.declaration_result.message_count or 0, None)
            finally:
                if not channel.is_closed:
                    await channel.close()
        except FAILURES as error:
            if not isinstance(error, ChannelClosed):
                await self._drop(link)
            raise BrokerError(
                f"no queue {queue}: declare it first (bongsu topology apply): {explain(error)}"
            ) from error

    async def dead_letters(self, queue: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Dead letters of one queue or of all, oldest first, at most `limit`; they stay where they are."""
        found: list[DeadLetter] = []
        async with self._dead_messages() as messages:
            async for message in messages:
                letter = read_dead_letter(message)
                if queue in (None, letter.queue):
                    found.append(letter)
                if len(found) == limit:
                    break
        return found

    async def replay(self, ids: Iterable[str]) -> int:
        """Publish dead letters to the queues they died in, then let the old ones go; returns how many."""
        chosen, replayed = set(ids), 0
        async with self._dead_messages() as messages:
            async for message in messages:
                letter = read_dead_letter(message)
                if letter.id in chosen:
                    await self.send_to(letter.queue, outgoing(letter.message, {"x-bongsu-replayed": 1}))
                    await message.ack()
                    replayed += 1
        return replayed

    async def close(self) -> None:
        """Close both connections."""
        link, self._link = self._link, None
        consuming, self._consuming = self._consuming, None
        for connection in (link.connection if link else None, consuming):
            if connection is not None and not connection.is_closed:
                await connection.close()

    async def _declare(self, queues: Iterable[Queue]) -> list[str]:
        """Create queues and the delays; those that differ, a line each."""
        link = await self._linked()
        try:
            differing = await declare_queues(link.connection, queues, replicates_motion=self._replicates_motion)
            await require_delays(link.connection)
        except FAILURES as error:
            await self._drop(link)
            raise self._undeclared("cannot declare queues", error) from error
        return differing

    def _undeclared(self, what: str, error: BaseException) -> BrokerError:
        if not isinstance(error, ChannelAccessRefused):
            return BrokerError(f"{self._shown}: {what}: {explain(error)}")
        return BrokerError(
            f"{self._shown}: something is missing that user {self._url.user!r} may not declare: "
            f"run bongsu topology apply as a user who may ({error})"
        )

    # What a delivery does instead of an acknowledgement alone.

    async def send_to(self, queue: str, message: aio_pika.Message) -> None:
        """Publish to one queue by its name."""
        await self._send([Parcel(REQUEUE, queue, message)])

    async def park(self, queue: str, message: aio_pika.Message, delay_s: int) -> None:
        """Publish to one queue, in so many seconds."""
        await self._send([Parcel(str(delay_s), queue, message)])

    async def bury(self, message: aio_pika.Message) -> None:
        """Keep as a dead letter."""
        await self._send([Parcel(DEAD, "", message)])

    async def _send(self, parcels: Sequence[Parcel]) -> None:
        """Publish until each is confirmed; what a lost connection leaves unconfirmed is published again."""
        unconfirmed, attempt = list(parcels), 0
        end = time.monotonic() + _PATIENCE_S
        while unconfirmed:
            try:
                link = await self._linked()
                while unconfirmed:
                    failed, error = await self._send_window(link, unconfirmed[:_WINDOW])
                    unconfirmed = failed + unconfirmed[_WINDOW:]
                    if error is not None:
                        raise error
                return
            except BrokerError as error:
                attempt += 1
                pause_s = backoff_s(attempt, first_s=0.1, longest_s=2.0)
                if isinstance(error, (Unroutable, TooLarge)) or time.monotonic() + pause_s > end:
                    raise
                await asyncio.sleep(pause_s)

    async def _send_window(self, link: Link, window: Sequence[Parcel]) -> tuple[list[Parcel], BrokerError | None]:
        """Publish these together: which of them are not confirmed, and why."""
        try:
            async with asyncio.timeout(_CONFIRM_S):
                exchanges = [await link.exchange(parcel.exchange) for parcel in window]
                results = await asyncio.gather(
                    *(e.publish(p.message, p.key, mandatory=True) for e, p in zip(exchanges, window, strict=True)),
                    return_exceptions=True,
                )
        except FAILURES as error:
            await self._drop(link)
            publishes_total.labels("lost").inc(len(window))
            said = "no confirm in time, the broker may be out of memory or disk" if _is_timeout(error) else str(error)
            return list(window), BrokerError(f"{self._shown}: not confirmed: {said}")
        failed = [(p, e) for p, e in zip(window, results, strict=True) if isinstance(e, BaseException)]
        publishes_total.labels("confirmed").inc(len(window) - len(failed))
        return await self._judge(link, failed) if failed else ([], None)

    async def _judge(
        self, link: Link, failed: Sequence[tuple[Parcel, BaseException]]
    ) -> tuple[list[Parcel], BrokerError | None]:
        """What became of these: which are to be published again, and why."""
        for parcel, result in failed:
            if isinstance(result, PublishError):
                publishes_total.labels("returned").inc()
                if link.forget(parcel.exchange):
                    return [p for p, _ in failed], BrokerError(f"{self._shown}: a delay's queue was deleted")
                return [], Unroutable(f"no queue takes {parcel.key!r}: declare one (bongsu topology apply)")
            # A driver whose connection is closed under it cancels what waits, or raises a bare Exception.
            if link.is_alive and not isinstance(result, (DeliveryError, asyncio.CancelledError, *FAILURES)):
                raise result
        _, first = failed[0]
        if refusal := next((e for _, e in failed if isinstance(e, ChannelAccessRefused)), None):
            publishes_total.labels("forbidden").inc(len(failed))
            await self._drop(link)
            why = f"{self._shown}: user {self._url.user!r} may not publish this: {refusal}"
            return [p for p, _ in failed], NotPermitted(why)
        if isinstance(first, DeliveryError):
            publishes_total.labels("refused").inc(len(failed))
            # A channel that first spoke to a quorum queue while it chose a leader is refused for as long as it lives
            # (seen on 3.10): whoever tries again does so on another.
            await self._drop(link)
            return [p for p, _ in failed], BrokerError(f"{self._shown}: refused by a queue: {first}")
        publishes_total.labels("lost").inc(len(failed))
        await self._drop(link)
        lost = BrokerError(f"{self._shown}: not confirmed: {first!r:.200}")
        if any(_is_too_large(error) for _, error in failed):
            lost = TooLarge(f"{self._shown}: takes no message of {max(p.message.body_size for p, _ in failed)} bytes")
        return [p for p, _ in failed], lost

    async def _linked(self) -> Link:
        """What we publish through, on a live connection."""
        link = self._link
        if link is not None and link.is_alive:
            return link
        async with self._lock:
            link = self._link
            if link is not None and link.is_alive:
                return link
            connection = await self._connect("publish")
            try:
                self._link = await Link.open(connection)
            except FAILURES as error:
                await close_quietly(connection)
                raise self._undeclared("cannot connect", error) from error
            return self._link

    async def _consuming_connection(self) -> AbstractConnection:
        async with self._lock:
            if self._consuming is None or self._consuming.is_closed:
                self._consuming = await self._connect("consume")
            return self._consuming

    async def _connect(self, use: str) -> AbstractConnection:
        try:
            connection = await aio_pika.connect(self._url, timeout=_CONNECT_S)
        except FAILURES as error:
            raise BrokerError(f"{self._shown}: cannot connect: {explain(error)}") from error
        connections_total.labels(use).inc()
        return connection

    async def _drop(self, link: Link) -> None:
        """Forget a connection that failed us; whoever comes next opens another."""
        if self._link is link:
            self._link = None
        await close_quietly(link.connection)

    async def _drop_consuming(self, error: Exception) -> None:
        # A missing queue is no fault of the connection. Everything else is: closed by the broker, it may not say so.
        connection = self._consuming
        if connection is not None and not isinstance(error, ChannelNotFoundEntity):
            self._consuming = None
            await close_quietly(connection)

    @asynccontextmanager
    async def _dead_messages(self) -> AsyncIterator[AsyncIterator[AbstractIncomingMessage]]:
        """Look through the dead letters; what is not acknowledged goes back when the channel closes."""
        link = await self._linked()
        try:
            channel = await link.connection.channel(publisher_confirms=False)
            try:
                dead = await channel.get_queue(DEAD)

                async def each() -> AsyncIterator[AbstractIncomingMessage]:
                    while (message := await dead.get(fail=False)) is not None:
                        yield message

                yield each()
            finally:
                if not channel.is_closed:
                    await channel.close()
        except FAILURES as error:
            await self._drop(link)
            raise BrokerError(f"{self._shown}: {explain(error)}") from error


def _is_too_large(error: BaseException) -> bool:
    # RabbitMQ closes the channel for it (16 MiB and more, since 4.0), with the same code as for other refusals.
    return isinstance(error, ChannelPreconditionFailed) and "message size" in str(error)


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, asyncio.TimeoutError)
