"""The receiving side of RabbitMQ: a subscription, and the deliveries it hands out."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import aio_pika
import aiormq.abc
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection

from functions.broker.base import BrokerError
from functions.broker.rabbit_acks import FAILURES, AckBatcher, guarded
from functions.broker.rabbit_wire import ATTEMPTS, buried, came_by, outgoing, read_attempt, read_deaths, read_message
from functions.event import Message
from functions.topology import delay, queue

log = structlog.get_logger()


class Sender(Protocol):
    """What a delivery needs from its broker: to publish to one queue, to a delay, or to the dead letters."""

    async def send_to(self, queue: str, message: aio_pika.Message) -> None:
        """Publish to one queue, by its name."""

    async def park(self, queue: str, message: aio_pika.Message, delay_s: int) -> None:
        """Publish to a delay queue, which returns the message to its queue after that many seconds."""

    async def bury(self, message: aio_pika.Message) -> None:
        """Publish to the dead letters."""


@dataclass(slots=True, eq=False)
class RabbitDelivery:
    """One message that this consumer holds."""

    sender: Sender
    consumer: RabbitConsumer
    queue: str
    tag: int
    """Its delivery tag on the consumer's channel."""
    message: Message
    attempt: int
    deaths: int

    async def ack(self) -> None:
        """Acknowledge; the frame goes out with others, mostly within a millisecond."""
        await self._finish()

    async def retry(self, reason: str, after_s: float) -> None:
        """Park the message in a delay queue, or bury it at the delivery limit."""
        limit = queue(self.queue).delivery_limit
        if limit is not None and self.attempt >= limit:
            await self.reject(f"{reason} (delivery {self.attempt} of {limit})")
            return
        await self.sender.park(self.queue, outgoing(self.message, {ATTEMPTS: self.attempt}), delay(after_s))
        await self._finish()

    async def reject(self, reason: str) -> None:
        """Publish it to the dead letters with the reason, then acknowledge."""
        await self.sender.bury(buried(self.message, self.queue, self.attempt, reason))
        await self._finish()

    async def release(self) -> None:
        """Requeue it, uncounted."""
        if queue(self.queue).is_shedding:  # keeps its place; a replicated queue may drop it after 20 times
            await self._finish(requeue=True)
            return
        # Requeueing counts against a quorum queue's delivery limit on RabbitMQ < 4.3; a fresh copy does not.
        await self.sender.send_to(self.queue, outgoing(self.message, {ATTEMPTS: self.attempt - 1}))
        await self._finish()

    async def _finish(self, *, requeue: bool = False) -> None:
        """Acknowledge last: after a crash before this, the step above is repeated and nothing is lost."""
        await self.consumer.answer(self, requeue=requeue)


class RabbitConsumer:
    """A subscription to some queues, on its own channel."""

    def __init__(
        self,
        sender: Sender,
        queues: Sequence[str],
        connection: AbstractConnection,
        channel: AbstractChannel,
        wire: aiormq.abc.AbstractChannel,
    ) -> None:
        """For `RabbitBroker.consume` alone."""
        self._sender = sender
        self._queues = queues
        self._connection = connection
        self._channel = channel
        # The driver's lower layer: the one above costs, for each message, a second task and a copy of its properties.
        self._wire = wire
        self._acks = AckBatcher(wire, self._lose)
        self._arrived: deque[RabbitDelivery] = deque()
        self._unanswered: dict[int, RabbitDelivery] = {}
        self._wake = asyncio.Event()
        self._lost = ""
        self._subscriptions: list[str] = []
        self._prefetch = 0
        self._resizing = asyncio.Lock()

    @classmethod
    async def join(
        cls, sender: Sender, queues: Sequence[str], connection: AbstractConnection, prefetch: int
    ) -> RabbitConsumer:
        """Subscribe.

        Raises:
            AMQPError: a queue does not exist, or the connection was lost.
        """
        channel = await connection.channel(publisher_confirms=False)
        wire = await channel.get_underlay_channel()
        consumer = cls(sender, queues, connection, channel, wire)
        channel.close_callbacks.add(consumer._closed)
        connection.close_callbacks.add(consumer._closed)
        wire.on_consumer_cancel_callbacks.add(lambda *_: consumer._lose("the broker ended the subscription"))
        try:
            await consumer._subscribe(prefetch)
        except BaseException:
            await consumer.leave()
            raise
        return consumer

    def get_nowait(self) -> RabbitDelivery | None:
        """A delivery that has arrived already, or None."""
        return self._arrived.popleft() if self._arrived else None

    async def get(self, timeout_s: float | None = None) -> RabbitDelivery | None:
        """The next delivery; None after `timeout_s` seconds without one.

        Raises:
            BrokerError: the connection was lost.
        """
        try:
            async with asyncio.timeout(timeout_s) if timeout_s is not None else contextlib.nullcontext():
                while not self._arrived and not self._lost:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return None
        if self._lost:
            raise BrokerError(self._lost)
        return self.get_nowait()

    async def resize(self, prefetch: int) -> None:
        """Subscribe again with another prefetch; messages already delivered stay with this consumer.

        Raises:
            BrokerError: the connection was lost.
        """
        async with self._resizing:
            if prefetch == self._prefetch or self._lost:
                return
            try:
                # A prefetch applies only to later subscriptions, and quorum queues support no other kind. Messages from
                # the old subscriptions stay ours: a message belongs to its channel.
                await self._unsubscribe()
                surplus = [self._arrived.pop() for _ in range(len(self._arrived) - prefetch)]
                await self._give_back(surplus[::-1])
                await self._subscribe(prefetch)
            except (BrokerError, *FAILURES) as error:
                self._lose(str(error) or type(error).__name__)
                raise BrokerError(self._lost) from error

    async def leave(self) -> None:
        """Unsubscribe, and requeue what is unsettled; closing the channel requeues the rest."""
        async with self._resizing:
            with contextlib.suppress(BrokerError, *FAILURES):
                if not self._lost:
                    # Unsubscribe first, or what we give back would be delivered to us again.
                    await self._unsubscribe()
                    await self._give_back(list(self._unanswered.values()))
                    await self._acks.flush()
            with contextlib.suppress(*FAILURES):
                # The connection stays open, and would keep a reference to the callbacks.
                self._connection.close_callbacks.discard(self._closed)
                if not self._channel.is_closed:
                    await guarded(self._channel.close())

    async def answer(self, delivery: RabbitDelivery, *, requeue: bool) -> None:
        """Acknowledge or requeue one message, once.

        Raises:
            BrokerError: the connection was lost, so the message will be delivered again.
        """
        if self._unanswered.pop(delivery.tag, None) is None:
            raise BrokerError("not acknowledged, will be delivered again: the connection was lost")
        await self._acks.note(delivery.tag, requeue=requeue)

    async def _subscribe(self, prefetch: int) -> None:
        self._prefetch = prefetch
        if not prefetch:  # RabbitMQ reads 0 as "no limit"
            return
        # Quorum queues support no prefetch across queues, so this applies to each queue by itself.
        await guarded(self._wire.basic_qos(prefetch_count=prefetch))
        self._acks.most = max(1, prefetch // 2)
        for name in self._queues:
            tag = f"{name}-{uuid.uuid4().hex}"
            await guarded(self._wire.basic_consume(name, partial(self._receive, name), consumer_tag=tag))
            self._subscriptions.append(tag)

    async def _unsubscribe(self) -> None:
        while self._subscriptions:
            await guarded(self._wire.basic_cancel(self._subscriptions.pop()))

    async def _give_back(self, deliveries: Sequence[RabbitDelivery]) -> None:
        await asyncio.gather(*(delivery.release() for delivery in deliveries))

    async def _receive(self, name: str, incoming: aiormq.abc.DeliveredMessage) -> None:
        if self._lost:
            return
        headers = incoming.header.properties.headers or {}
        message = read_message(headers, incoming.routing_key, incoming.body)
        attempt, deaths = read_attempt(headers), read_deaths(headers)
        delivery = RabbitDelivery(self._sender, self, name, incoming.delivery_tag or 0, message, attempt, deaths)
        self._unanswered[delivery.tag] = delivery
        if not came_by(queue(name), key := incoming.routing_key or ""):
            log.error("event_rejected", queue=name, reason=f"came by the routing key {key[:80]!r}")
            with contextlib.suppress(BrokerError):  # it stays unacknowledged, and is delivered again
                await delivery.reject(f"came by the routing key {key[:80]!r}, which is not of this queue")
            return
        self._arrived.append(delivery)
        self._wake.set()

    def _closed(self, *_: object) -> None:
        self._lose("the connection was lost")

    def _lose(self, why: str) -> None:
        """The channel is closed: the messages that we held are delivered again, so they must not be started."""
        if not self._lost and (unwritten := self._acks.unwritten):
            log.warning("acknowledgements_lost", events=unwritten, reason=f"{why}: they will be delivered again")
        self._lost = self._lost or why
        self._unanswered.clear()
        self._arrived.clear()
        self._wake.set()
