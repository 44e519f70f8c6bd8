"""The sending side of RabbitMQ: batches of publishes, their confirms, and how failures are handled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aio_pika
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError, PublishError
from aiormq.exceptions import ChannelAccessRefused
from prometheus_client import Counter

from functions.backoff import backoff_s
from functions.broker.base import BrokerError, NotPermitted, TooLarge, Unroutable
from functions.broker.rabbit_acks import FAILURES
from functions.broker.rabbit_connections import RabbitConnections
from functions.broker.rabbit_link import Link, Parcel
from functions.topology import DEAD, REQUEUE

publishes_total = Counter("bongsu_broker_publishes_total", "Messages published, by the broker's response", ["outcome"])

_WINDOW = 128
"""Publishes that await confirms together: enough to hide a quorum queue's disk writes; 8 MB of snapshots."""
_PATIENCE_S = 6.0
"""How long a publish is tried again after a lost connection: most node restarts take less, and callers still wait."""
_CONFIRM_S = 20.0
"""A broker that is out of memory or disk stops reading: it neither confirms nor refuses."""


class RabbitPublisher:
    """Publishes over the publishing connection, and waits for the server's confirms."""

    def __init__(self, connections: RabbitConnections) -> None:
        """A publisher over these connections."""
        self._connections = connections

    async def send(self, parcels: Sequence[Parcel]) -> None:
        """Publish until each is confirmed; messages left unconfirmed by a lost connection are published again.

        Raises:
            Unroutable: the server returned a message, because no queue is bound to its routing key.
            TooLarge: a message is over the server's limit.
            BrokerError: not confirmed; publish again.
        """
        unconfirmed, attempt = list(parcels), 0
        end = time.monotonic() + _PATIENCE_S
        while unconfirmed:
            try:
                link = await self._connections.open_link()
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

    # How a delivery is settled when it is not just acknowledged.

    async def send_to(self, queue: str, message: aio_pika.Message) -> None:
        """Publish to one queue by its name."""
        await self.send([Parcel(REQUEUE, queue, message)])

    async def park(self, queue: str, message: aio_pika.Message, delay_s: int) -> None:
        """Publish to one queue after a delay in seconds."""
        await self.send([Parcel(str(delay_s), queue, message)])

    async def bury(self, message: aio_pika.Message) -> None:
        """Keep as a dead letter."""
        await self.send([Parcel(DEAD, "", message)])

    async def _send_window(self, link: Link, window: Sequence[Parcel]) -> tuple[list[Parcel], BrokerError | None]:
        """Publish these together; returns those that were not confirmed, and why."""
        try:
            async with asyncio.timeout(_CONFIRM_S):
                exchanges = [await link.exchange(parcel.exchange) for parcel in window]
                results = await asyncio.gather(
                    *(e.publish(p.message, p.key, mandatory=True) for e, p in zip(exchanges, window, strict=True)),
                    return_exceptions=True,
                )
        except FAILURES as error:
            await self._connections.drop(link)
            publishes_total.labels("lost").inc(len(window))
            reason = "no confirm in time, the broker may be out of memory or disk" if _is_timeout(error) else str(error)
            return list(window), BrokerError(f"{self._connections.shown}: not confirmed: {reason}")
        failed = [(p, e) for p, e in zip(window, results, strict=True) if isinstance(e, BaseException)]
        publishes_total.labels("confirmed").inc(len(window) - len(failed))
        return await self._judge(link, failed) if failed else ([], None)

    async def _judge(
        self, link: Link, failed: Sequence[tuple[Parcel, BaseException]]
    ) -> tuple[list[Parcel], BrokerError | None]:
        """Judge the results of a batch: which messages must be published again, and why."""
        for parcel, result in failed:
            if isinstance(result, PublishError):
                publishes_total.labels("returned").inc()
                if link.forget(parcel.exchange):
                    return [p for p, _ in failed], BrokerError(
                        f"{self._connections.shown}: a delay's queue was deleted"
                    )
                return [], Unroutable(f"no queue takes {parcel.key!r}: declare one (bongsu topology apply)")
            # A driver whose connection is closed meanwhile cancels its waiting calls, or raises a bare Exception.
            if link.is_alive and not isinstance(result, (DeliveryError, asyncio.CancelledError, *FAILURES)):
                raise result
        _, first = failed[0]
        if refusal := next((e for _, e in failed if isinstance(e, ChannelAccessRefused)), None):
            publishes_total.labels("forbidden").inc(len(failed))
            await self._connections.drop(link)
            why = f"{self._connections.shown}: user {self._connections.user!r} may not publish this: {refusal}"
            return [p for p, _ in failed], NotPermitted(why)
        if isinstance(first, DeliveryError):
            publishes_total.labels("refused").inc(len(failed))
            # A channel whose first use of a quorum queue falls into a leader election is refused for as long as it is
            # open (seen on 3.10): the next try uses another channel.
            await self._connections.drop(link)
            return [p for p, _ in failed], BrokerError(f"{self._connections.shown}: refused by a queue: {first}")
        publishes_total.labels("lost").inc(len(failed))
        await self._connections.drop(link)
        lost = BrokerError(f"{self._connections.shown}: not confirmed: {first!r:.200}")
        if any(_is_too_large(error) for _, error in failed):
            lost = TooLarge(
                f"{self._connections.shown}: takes no message of {max(p.message.body_size for p, _ in failed)} bytes"
            )
        return [p for p, _ in failed], lost


def _is_too_large(error: BaseException) -> bool:
    # RabbitMQ closes the channel over it (16 MiB and more, since 4.0), with the same code as for other refusals.
    return isinstance(error, ChannelPreconditionFailed) and "message size" in str(error)


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, asyncio.TimeoutError)
