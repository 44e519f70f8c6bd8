"""Checks that every alert went out: the API compares incidents with posts every minute, and reports missing ones.

An alert is waiting in a queue, is a dead letter, or is out. This check uses only the database, so it also finds alerts
that a broker lost with its disk.
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
    "Incidents of the last day that a channel had not posted ten minutes after they were seen",
    ["channel"],
    multiprocess_mode="mostrecent",
)

_EVERY_S = 60.0
_WITHIN = timedelta(days=1)
_DUE = timedelta(minutes=10)
"""Retries take three and a half minutes before an event is a dead letter; a channel's rate limit may take longer."""
_SHOWN = 10


def auditing(store: Store) -> AbstractAsyncContextManager[None]:
    """Compare every minute while this context is open; several processes may do so at once."""
    return in_background("audit", _audit_repeatedly(store))


async def _audit_repeatedly(store: Store) -> None:
    known_missing: dict[str, Set[int]] = {}
    while True:
        await asyncio.sleep(_EVERY_S)
        now = utc_now()
        try:
            missing = await store.posts.missing(now - _WITHIN, now - _DUE)
        except StoreError as error:
            log.warning("alerts_not_audited", reason=str(error))
            continue
        # A channel without missing posts for a day is included, so that its gauge returns to 0.
        for channel in sorted(known_missing.keys() | missing.keys()):
            incidents = set(missing.get(channel, ()))
            alerts_missing.labels(channel).set(len(incidents))
            if new := sorted(incidents - known_missing.get(channel, set())):
                log.warning("alerts_missing", channel=channel, alerts=len(new), incidents=new[-_SHOWN:])
            known_missing[channel] = incidents
