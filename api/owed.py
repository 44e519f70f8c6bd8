"""Publishes what the database says is owed, again and again, and lets what is old expire: withdrawals and releases.

What is owed is in the database before anything is published, and is read from there: neither a restart of this process
nor a broker that is away loses it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from functions.broker import BrokerError
from store import StoreError

log = structlog.get_logger()

_EXPIRE_EVERY_S = 3600.0


async def publish_repeatedly(
    publish: Callable[[], Awaitable[None]], expire: Callable[[], Awaitable[None]], *, every_s: float, delayed: str
) -> None:
    """Publish until cancelled; a database or a broker that is away is logged.

    Args:
        publish: publishes what is owed now.
        expire: deletes what is old; called at the start, and every hour.
        every_s: between two looks.
        delayed: the event that is logged when one of them fails.
    """
    expired_at = float("-inf")
    while True:
        try:
            if time.monotonic() - expired_at > _EXPIRE_EVERY_S:
                expired_at = time.monotonic()
                await expire()
            await publish()
        except (StoreError, BrokerError) as error:
            log.warning(delayed, reason=str(error))
        await asyncio.sleep(every_s)
