"""How many events one replica holds in hand: about as many as it handles in a moment; each worker has one."""

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
"""What one replica holds is no use to the others, so it takes no more work in hand than this."""
_TOO_LONG_S = 1.0
"""Work for so long is given back. More than the above, or a busy machine's hiccups would send events to and fro."""
_ENOUGH = 32
"""Events whose mean says how long one takes."""


class PrefetchController:
    """Fits a consumer's prefetch to the pace of its handler.

    A handler that posts for a second holds `LEAST`; one that is done in a millisecond holds as many as it handles in a
    tenth of a second, and need not wait for the broker between them.
    """

    def __init__(self, consumer: Consumer, *, size: int = LEAST, is_fixed: bool = False) -> None:
        """Fit the prefetch of this consumer, which begins at `size`; `is_fixed` leaves it there."""
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
        """Hold nothing but what is in hand, until `reopen`.

        Raises:
            BrokerError: the connection was lost.
        """
        self._is_shut = True
        await asyncio.shield(self._consumer.resize(0))

    async def reopen(self) -> None:
        """Hold as much as before.

        Raises:
            BrokerError: the connection was lost.
        """
        self._is_shut = False
        await asyncio.shield(self._consumer.resize(self._size))

    async def close(self) -> None:
        """Stop watching; what is held is the consumer's to give back."""
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
        # Half a change would leave the consumer without a subscription.
        await asyncio.shield(self._consumer.resize(size))

    async def _watch(self) -> None:
        """Give back what waits behind an event that takes long all of a sudden, before that one is done."""
        while self._size > LEAST:
            await asyncio.sleep(_TOO_LONG_S)
            if self._is_shut or self._begun_at is None:
                continue
            if time.monotonic() - self._begun_at > _TOO_LONG_S:
                # A lost connection is told to whoever asks for the next event.
                with contextlib.suppress(BrokerError):
                    await self._fit(LEAST)


def fitting(size: int, work_s: float) -> int:
    """A size for events that take so long, a power of two; the old one where that is not far off."""
    if size * work_s > _TOO_LONG_S:
        while size > LEAST and size * work_s > _HELD_S:
            size //= 2
        return size
    while size < _MOST and 2 * size * work_s <= _HELD_S:
        size *= 2
    return size
