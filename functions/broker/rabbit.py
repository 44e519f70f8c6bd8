"""The production broker: RabbitMQ over aio-pika, with confirms, returns, quorum queues and kept dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import ChannelClosed

from functions.broker.base import BrokerError, DeadLetter, Depth, QueueDiffers
from functions.broker.rabbit_acks import FAILURES, explain
from functions.broker.rabbit_connections import RabbitConnections
from functions.broker.rabbit_consumer import RabbitConsumer
from functions.broker.rabbit_link import Parcel
from functions.broker.rabbit_publisher import RabbitPublisher
from functions.broker.rabbit_queues import declare_queues, missing_queues, require_delays
from functions.broker.rabbit_wire import outgoing, read_dead_letter
from functions.event import Message
from functions.settings import load
from functions.topology import DEAD, Queue


class RabbitBroker:
    """Topic exchange `bongsu`, a quorum queue per type and function, one queue of dead letters."""

    def __init__(self, url: str, *, replicates_motion: bool = False) -> None:
        """For `open` alone."""
        self._connections = RabbitConnections(url)
        self._publisher = RabbitPublisher(self._connections)
        self._replicates_motion = replicates_motion

    @classmethod
    async def open(cls, url: str) -> RabbitBroker:
        """Connect and make sure that the exchanges and the queue of dead letters exist.

        Raises:
            BrokerError: the server does not answer, or refuses the credentials.
            SettingsError: a variable of the environment has an invalid value.
        """
        broker = cls(url, replicates_motion=load().motion_replicated)
        await broker._connections.open_link()
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
        """Check that the queues exist, and declare those that do not; a user who may not declare can still check."""
        link = await self._connections.open_link()
        try:
            missing = await missing_queues(link.connection, queues)
        except FAILURES as error:
            await self._connections.drop(link)
            raise BrokerError(f"{self._connections.shown}: cannot look for queues: {explain(error)}") from error
        await self._declare(missing)

    async def publish(self, *messages: Message) -> None:
        """Publish, and wait for the server's confirms.

        Raises:
            Unroutable: the server returned a message, because no queue is bound to its routing key.
            TooLarge: a message is over the server's limit.
            BrokerError: not confirmed; publish again.
        """
        await self._publisher.send([Parcel("", m.routing_key, outgoing(m)) for m in messages])

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], prefetch: int = 1) -> AsyncIterator[RabbitConsumer]:
        """Take from these queues over the connection that is kept for consuming.

        Raises:
            BrokerError: a queue does not exist, or the connection was lost.
        """
        try:
            consumer = await RabbitConsumer.join(
                self._publisher, queues, await self._connections.open_consuming(), prefetch
            )
        except FAILURES as error:
            await self._connections.drop_consuming(error)
            raise BrokerError(
                f"{self._connections.shown}: cannot consume {', '.join(queues)}: {explain(error)}"
            ) from error
        try:
            yield consumer
        finally:
            await consumer.leave()

    async def depth(self, queue: str) -> Depth:
        """Messages ready; over AMQP the server does not report how many are unacknowledged.

        Raises:
            BrokerError: the queue does not exist.
        """
        link = await self._connections.open_link()
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
                await self._connections.drop(link)
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
        """Publish dead letters to the queues they died in, then remove the originals; returns how many."""
        chosen, replayed = set(ids), 0
        async with self._dead_messages() as messages:
            async for message in messages:
                letter = read_dead_letter(message)
                if letter.id in chosen:
                    await self._publisher.send_to(letter.queue, outgoing(letter.message, {"x-bongsu-replayed": 1}))
                    await message.ack()
                    replayed += 1
        return replayed

    async def close(self) -> None:
        """Close both connections."""
        await self._connections.close()

    async def _declare(self, queues: Iterable[Queue]) -> list[str]:
        """Create the queues and the delays; returns a line for each queue that exists with other limits."""
        link = await self._connections.open_link()
        try:
            differing = await declare_queues(link.connection, queues, replicates_motion=self._replicates_motion)
            await require_delays(link.connection)
        except FAILURES as error:
            await self._connections.drop(link)
            raise self._connections.undeclared("cannot declare queues", error) from error
        return differing

    @asynccontextmanager
    async def _dead_messages(self) -> AsyncIterator[AsyncIterator[AbstractIncomingMessage]]:
        """Read the dead letters; those that are not acknowledged go back when the channel closes."""
        link = await self._connections.open_link()
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
            await self._connections.drop(link)
            raise BrokerError(f"{self._connections.shown}: {explain(error)}") from error
