"""The receiving side of RabbitMQ: a subscription, and the deliveries it hands out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from functions.broker.base import BrokerError
from functions.broker.rabbit_wire import ATTEMPTS, buried, outgoing, read_attempt, read_message
from functions.event import Message
from functions.topology import delay, queue

FAILURES = (AMQPError, ConnectionError, ChannelInvalidStateError, asyncio.TimeoutError, OSError, RuntimeError)
"""What a lost or refused connection looks like, whichever layer notices it first."""


class Sender(Protocol):
    """What a delivery needs of its broker: to publish to one queue, to a delay, or to the dead letters."""

    async def send_to(self, queue: str, message: aio_pika.Message) -> None: ...
    async def park(self, queue: str, message: aio_pika.Message, delay_s: int) -> None: ...
    async def bury(self, message: aio_pika.Message) -> None: ...


@dataclass(slots=True, eq=False)
class RabbitDelivery:
    """One message in hand."""

    sender: Sender
    consumer: RabbitConsumer
    queue: str
    incoming: AbstractIncomingMessage
    message: Message
    attempt: int

    async def ack(self) -> None:
        await self._finish()

    async def retry(self, reason: str, after_s: float) -> None:
        limit = queue(self.queue).delivery_limit
        if limit is not None and self.attempt >= limit:
            await self.reject(f"{reason} (delivery {self.attempt} of {limit})")
            return
        await self.sender.park(self.queue, outgoing(self.message, {ATTEMPTS: self.attempt}), delay(after_s))
        await self._finish()

    async def reject(self, reason: str) -> None:
        await self.sender.bury(buried(self.message, self.queue, self.attempt, reason))
        await self._finish()

    async def release(self) -> None:
        if queue(self.queue).is_shedding:  # a classic queue, which counts no deliveries and keeps our place
            await self._finish(requeue=True)
            return
        # Requeueing counts against a quorum queue's delivery limit on RabbitMQ < 4.3; a fresh copy does not.
        await self.sender.send_to(self.queue, outgoing(self.message, {ATTEMPTS: self.attempt - 1}))
        await self._finish()

    async def _finish(self, *, requeue: bool = False) -> None:
        """Acknowledge last: a crash before this repeats the step above, and loses nothing."""
        if self not in self.consumer.unanswered:
            raise BrokerError("not acknowledged, will be delivered again: the connection was lost")
        self.consumer.unanswered.discard(self)
        try:
            await guarded(self.incoming.nack(requeue=True) if requeue else self.incoming.ack())
        except FAILURES as error:
            raise BrokerError(f"not acknowledged, will be delivered again: {error}") from error


class RabbitConsumer:
    """A subscription to some queues on a channel of its own."""

    def __init__(self, sender: Sender, queues: Sequence[str]) -> None:
        self._sender = sender
        self._queues = queues
        # Of bursts the newest is worth most, so where several have arrived it goes first. Nothing is shed for that:
        # the bound of the queue is what keeps all of them young.
        self._takes_newest = all(queue(name).is_shedding for name in queues)
        self._arrived: deque[RabbitDelivery] = deque()
        self._wake = asyncio.Event()
        self._lost = ""
        self._subscribed: list[tuple[AbstractQueue, str]] = []
        self._channel: AbstractChannel | None = None
        self.unanswered: set[RabbitDelivery] = set()

    async def join(self, connection: AbstractConnection, prefetch: int) -> None:
        """Subscribe.

        Raises:
            AMQPError: a queue does not exist, or the connection was lost.
        """
        self._channel = channel = await connection.channel(publisher_confirms=False)
        # Quorum queues know no prefetch across queues, so this holds for each queue by itself.
        await channel.set_qos(prefetch_count=prefetch)
        channel.close_callbacks.add(lambda *_: self._lose("the connection was lost"))
        connection.close_callbacks.add(lambda *_: self._lose("the connection was lost"))
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda *_: self._lose("the broker ended the subscription"))
        for name in self._queues:
            declared = await channel.get_queue(name, ensure=True)
            self._subscribed.append((declared, await declared.consume(partial(self._receive, name))))

    def get_nowait(self) -> RabbitDelivery | None:
        if not self._arrived:
            return None
        return self._arrived.pop() if self._takes_newest else self._arrived.popleft()

    async def get(self, timeout_s: float | None = None) -> RabbitDelivery | None:
        if not self._arrived and not self._lost:
            try:
                async with asyncio.timeout(timeout_s):
                    while not self._arrived and not self._lost:
                        self._wake.clear()
                        await self._wake.wait()
            except TimeoutError:
                return None
        if self._lost:
            raise BrokerError(self._lost)
        return self.get_nowait()

    async def leave(self) -> None:
        """Unsubscribe, and give back what is unanswered. What cannot be given back the closed channel gives back."""
        with contextlib.suppress(BrokerError, *FAILURES):
            if not self._lost:
                # First unsubscribe, or what we give back would come straight back to us.
                for subscribed, tag in self._subscribed:
                    await guarded(subscribed.cancel(tag))
                held = sorted(self.unanswered, key=lambda d: d.incoming.delivery_tag or 0)
                await asyncio.gather(*(delivery.release() for delivery in held))
        with contextlib.suppress(*FAILURES):
            if self._channel is not None and not self._channel.is_closed:
                await guarded(self._channel.close())

    async def _receive(self, name: str, incoming: AbstractIncomingMessage) -> None:
        delivery = RabbitDelivery(self._sender, self, name, incoming, read_message(incoming), read_attempt(incoming))
        self.unanswered.add(delivery)
        self._arrived.append(delivery)
        self._wake.set()

    def _lose(self, why: str) -> None:
        """The channel is gone: what we held is delivered again, so nobody should start on it."""
        self._lost = self._lost or why
        self.unanswered.clear()
        self._arrived.clear()
        self._wake.set()


async def guarded(awaitable: Awaitable[object]) -> None:
    """Wait for it; where the driver cancels it, or raises a bare Exception, the connection is gone: say so."""
    try:
        await awaitable
    except Exception as error:
        if type(error) is Exception:
            raise ConnectionError("the connection was lost") from error
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionError("the connection was lost") from None
