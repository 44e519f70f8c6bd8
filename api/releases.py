"""Publishes the held alerts that operators released, and counts those that wait for a review.

What is published is the captioner's own event, with its signature. `owed.py` says why no release is lost.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from api.owed import publish_repeatedly
from functions import settings as environment
from functions.broker import connect
from functions.event import DecodeError, decode, encode, utc_now
from store import Store
from web.background import in_background

log = structlog.get_logger()

alerts_waiting = Gauge(
    "bongsu_alerts_waiting_review", "Alerts that wait for an operator's review", multiprocess_mode="mostrecent"
)

_EVERY_S = 2.0
_KEPT = timedelta(days=30)
"""As long as pictures, by default."""


def releasing(store: Store) -> AbstractAsyncContextManager[None]:
    """Publish while this is open; several processes may do so at once: each alert is posted once."""
    return in_background("releases", _publish_released(store, environment.load().broker_url))


async def _publish_released(store: Store, broker_url: str) -> None:
    async def publish() -> None:
        await publish_released(store, broker_url)
        alerts_waiting.set(await store.held.count())

    async def expire() -> None:
        if unreviewed := await store.held.expire(utc_now() - _KEPT):
            log.error("held_alerts_expired", unreviewed=unreviewed)

    await publish_repeatedly(publish, expire, every_s=_EVERY_S, delayed="releases_delayed")


async def publish_released(store: Store, broker_url: str) -> None:
    """Publish the alerts that were released and not published yet.

    Args:
        store: where they are read.
        broker_url: where they are published; it is connected to only if there are any.

    Raises:
        StoreError: the database is not available.
        BrokerError: the broker is not available, or no function reads `captioned`.
    """
    released = await store.held.to_publish()
    if not released:
        return
    broker = await connect(broker_url)
    try:
        for held in released:
            try:
                await broker.publish(encode(decode(held.alert)))
            except DecodeError as error:
                # Written by a version that nobody can read any more: the incident stays on the map without a post.
                log.error("held_alert_unreadable", incident=held.incident_id, reason=str(error))
            await store.held.mark_published(held.incident_id)
            log.info("held_alert_released", incident=held.incident_id, event_id=held.event_id)
    finally:
        await broker.close()
