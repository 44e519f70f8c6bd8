"""Publishes the held alerts that operators released, and counts those that wait for a review.

A release is in the database before anything is published, and what is owed is read from there: neither a restart of
this process nor a broker that is away loses it. What is published is the captioner's own event, with its signature.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from functions import settings as environment
from functions.broker import BrokerError, connect
from functions.event import DecodeError, decode, encode, utc_now
from store import Store, StoreError
from web.background import in_background

log = structlog.get_logger()

alerts_waiting = Gauge(
    "bongsu_alerts_waiting_review", "Alerts that wait for an operator's review", multiprocess_mode="mostrecent"
)

_EVERY_S = 2.0
_EXPIRE_EVERY_S = 3600.0
_KEPT = timedelta(days=30)
"""As long as pictures, by default."""


def releasing(store: Store) -> AbstractAsyncContextManager[None]:
    """Publish while this is open; several processes may do so at once: each alert is posted once."""
    return in_background("releases", _publish_released(store, environment.load().broker_url))


async def _publish_released(store: Store, broker_url: str) -> None:
    expired_at = float("-inf")
    while True:
        try:
            if time.monotonic() - expired_at > _EXPIRE_EVERY_S:
                expired_at = time.monotonic()
                if unreviewed := await store.held.expire(utc_now() - _KEPT):
                    log.error("held_alerts_expired", unreviewed=unreviewed)
            await publish_released(store, broker_url)
            alerts_waiting.set(await store.held.count())
        except (StoreError, BrokerError) as error:
            log.warning("releases_delayed", reason=str(error))
        await asyncio.sleep(_EVERY_S)


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
