"""Publishes false alarms that subscribers were warned of, until each of them knows; and lets old subscriptions expire.

The function `push` sends the withdrawals. `owed.py` says why none is lost.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial

import structlog

from api.owed import publish_repeatedly
from api.settings import Settings
from functions import settings as environment
from functions.broker import connect
from functions.event import Reviewed, encode, utc_now
from store import Store
from store.records import Incident
from web.background import in_background

log = structlog.get_logger()

_EVERY_S = 5.0
_WITHIN = timedelta(days=1)
_AGAIN_S = 600.0
"""The function retries by itself; this is for what became a dead letter."""
_KEPT = timedelta(days=90)
"""The page renews its subscription whenever it is opened."""


def withdrawing(store: Store, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Publish while this is open, where warnings are sent at all; several processes may do so at once."""
    if not settings.push_public_key:
        return contextlib.nullcontext()
    return in_background("withdrawals", _publish_owed(store, environment.load().broker_url))


async def _publish_owed(store: Store, broker_url: str) -> None:
    published: dict[str, float] = {}

    async def expire() -> None:
        if expired := await store.push_subscriptions.expire(utc_now() - _KEPT):
            log.info("push_subscriptions_expired", subscriptions=expired)

    publish = partial(publish_owed, store, broker_url, published)
    await publish_repeatedly(publish, expire, every_s=_EVERY_S, delayed="withdrawals_delayed")


async def publish_owed(store: Store, broker_url: str, published: dict[str, float]) -> None:
    """Publish the false alarms that are owed now, but not those of the last ten minutes.

    Args:
        store: where they are read.
        broker_url: where they are published; it is connected to only if there are any.
        published: ids of what was published, and when (monotonic seconds); is brought up to date.

    Raises:
        StoreError: the database is not available.
        BrokerError: the broker is not available, or no function `push` is deployed.
    """
    now = time.monotonic()
    owed = [_event_of(incident) for incident in await store.push_notices.to_withdraw(utc_now() - _WITHIN)]
    for id_ in [id_ for id_, at in published.items() if now - at > _AGAIN_S]:
        del published[id_]
    await _publish(broker_url, [event for event in owed if event.id not in published])
    published |= {event.id: now for event in owed if event.id not in published}


def _event_of(incident: Incident) -> Reviewed:
    at = incident.reviewed_at or utc_now()
    id_ = f"reviewed-{incident.id}-{int(at.timestamp() * 1000)}"
    return Reviewed(id=id_, incident=incident.id, verdict="false_alarm", reviewed_at=at)


async def _publish(broker_url: str, events: Sequence[Reviewed]) -> None:
    if not events:
        return
    broker = await connect(broker_url)
    try:
        await broker.publish(*(encode(event) for event in events))
    finally:
        await broker.close()
    log.info("withdrawals_published", incidents=[event.incident for event in events])
