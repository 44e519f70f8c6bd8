"""Controls how many events one replica prefetches, by the pace of its handler; each worker has a controller."""

from __future__ import annotations

import asyncio
import contextlib
import time

from functions.broker import BrokerError, Consumer

LEAST = 4
"""Enough to hide the broker's round trip from a handler that takes milliseconds."""
_MOST = 32
"""More saves nothing that can be measured, and costs 60 KB each."""
_HELD_S = 0.1
"""Other replicas cannot handle what one holds, so a replica prefetches no more work than this."""
_TOO_LONG_S = 1.0
"""More work than this is given back. It is more than the above, or short delays would send events back and forth."""
_ENOUGH = 32
"""The number of events over which the handling time is averaged."""


class PrefetchController:
    """Fits a consumer's prefetch to the pace of its handler.

    A handler that posts for a second holds `LEAST`; one that is done in a millisecond holds as many as it handles in a
    tenth of a second, and does not wait for the broker between them.
    """

    def __init__(self, consumer: Consumer, *, size: int = LEAST, is_fixed: bool = False) -> None:
        """Control the prefetch of this consumer, which begins at `size`; `is_fixed` leaves it there."""
        self._consumer = consumer
        self._is_fixed = is_fixed
        self._size = size
        self._is_shut = False
        self._count = 0
        self._worked_s = 0.0
        self._begun_at: float | None = None
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The handler is about to be called."""
        self._begun_at = time.monotonic()

    async def end(self) -> None:
        """The event is done.

        Raises:
            BrokerError: the connection was lost.
        """
        if self._is_fixed or self._begun_at is None:
            return
        self._worked_s += time.monotonic() - self._begun_at
        self._begun_at = None
        self._count += 1
        if self._count == _ENOUGH or self._worked_s >= _TOO_LONG_S:
            await self._fit(fitting(self._size, self._worked_s / self._count))

    async def shut(self) -> None:
        """Prefetch nothing until `reopen`; only the event being handled is held.

        Raises:
            BrokerError: the connection was lost.
        """
        self._is_shut = True
        await asyncio.shield(self._consumer.resize(0))

    async def reopen(self) -> None:
        """Prefetch as much as before `shut`.

        Raises:
            BrokerError: the connection was lost.
        """
        self._is_shut = False
        await asyncio.shield(self._consumer.resize(self._size))

    async def close(self) -> None:
        """Stop watching; the consumer gives back what it holds."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _fit(self, size: int) -> None:
        self._count, self._worked_s = 0, 0.0
        if size == self._size:
            return
        self._size = size
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        # A cancelled change would leave the consumer without a subscription.
        await asyncio.shield(self._consumer.resize(size))

    async def _watch(self) -> None:
        """Give back the events that wait behind one that suddenly takes long, before it is done."""
        while self._size > LEAST:
            await asyncio.sleep(_TOO_LONG_S)
            if self._is_shut or self._begun_at is None:
                continue
            if time.monotonic() - self._begun_at > _TOO_LONG_S:
                # The next `get` raises for a lost connection.
                with contextlib.suppress(BrokerError):
                    await self._fit(LEAST)


def fitting(size: int, work_s: float) -> int:
    """The prefetch for events of this duration, a power of two; the old one if it is close."""
    if size * work_s > _TOO_LONG_S:
        while size > LEAST and size * work_s > _HELD_S:
            size //= 2
        return size
    while size < _MOST and 2 * size * work_s <= _HELD_S:
        size *= 2
    return size
