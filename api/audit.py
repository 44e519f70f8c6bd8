"""Whether every alert went out: the API compares incidents with posts every minute, and tells which are missing.

An alert waits in a queue or lies among the dead letters, or it is out. This asks the one place that knows nothing of
queues, so it also tells of what a broker has lost with its disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from functions.event import utc_now
from store import Store, StoreError
from web.background import in_background

log = structlog.get_logger()

alerts_missing = Gauge(
    "bongsu_alerts_missing",
    "Incidents of the last day that a channel has not told of ten minutes after they were seen",
    ["channel"],
    multiprocess_mode="mostrecent",
)

_EVERY_S = 60.0
_WITHIN = timedelta(days=1)
_DUE = timedelta(minutes=10)
"""Retries take three and a half minutes before an event is a dead letter; a channel's rate limit may take longer."""
_SHOWN = 10


def auditing(store: Store) -> AbstractAsyncContextManager[None]:
    """Compare every minute while this is open; several processes may do so at once."""
    return in_background("audit", _audit_for_ever(store))


async def _audit_for_ever(store: Store) -> None:
    told: dict[str, Set[int]] = {}
    while True:
        await asyncio.sleep(_EVERY_S)
        now = utc_now()
        try:
            missing = await store.posts.missing(now - _WITHIN, now - _DUE)
        except StoreError as error:
            log.warning("alerts_not_audited", reason=str(error))
            continue
        # A channel that was quiet for a day owes nothing any more.
        for channel in sorted(told.keys() | missing.keys()):
            incidents = set(missing.get(channel, ()))
            alerts_missing.labels(channel).set(len(incidents))
            if new := sorted(incidents - told.get(channel, set())):
                log.warning("alerts_missing", channel=channel, alerts=len(new), incidents=new[-_SHOWN:])
            told[channel] = incidents
