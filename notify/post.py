"""The poster: one post for each incident and channel, with caption and mosaicked picture."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from functions.event import Caption, Event, utc_now
from functions.function import Reject, Retry, on
from notify.channels import Channel, ChannelError, Feed
from notify.redact import redacted_of
from notify.resources import LATE_IMPORTS, RETRY_AFTER_S, open_stores
from notify.words import fit

if TYPE_CHECKING:
    from notify.map.snapshots import Snapshots
    from notify.map.store import Store
    from notify.redact import Redacted

__all__ = ["LATE_IMPORTS", "Desk", "open_desk", "post"]

log = structlog.get_logger()

posts_total = Counter("bongsu_posts_total", "Posts by what became of them", ["channel", "outcome"])


@dataclass(frozen=True, slots=True)
class Desk:
    """What a replica posts with."""

    store: Store
    snapshots: Snapshots
    channels: Sequence[Channel]


@contextlib.asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """The stores of this environment, and the built-in feed."""
    async with open_stores() as (store, snapshots):
        yield Desk(store, snapshots, (Feed(),))


@on("captioned", uses=open_desk)
async def post(event: Event, desk: Desk) -> None:
    """Post the event's incident on every channel that has not told of it yet.

    Raises:
        Reject: the event has no hazard or no caption.
        Retry: a channel or the database failed; what went out on other channels stays confirmed.
    """
    from notify.map.store import StoreError

    if event.caption is None or event.hazard is None:
        raise Reject("a captioned event must have a hazard and a caption")
    try:
        incident_id = await desk.store.record_sighting(event, by="post", got_at=utc_now())
        failures = [await _post_on(channel, event, event.caption, incident_id, desk) for channel in desk.channels]
    except StoreError as error:
        raise Retry(str(error), after=RETRY_AFTER_S) from error
    failed = [failure for failure in failures if failure is not None]
    if failed:
        raise Retry("; ".join(map(str, failed)), after=max(failure.after_s for failure in failed)) from failed[0]


async def _post_on(
    channel: Channel, event: Event, caption: Caption, incident_id: int, desk: Desk
) -> ChannelError | None:
    """Post on one channel; a failure is returned, so that the next channel has its turn."""
    if await desk.store.claim(incident_id, channel.name, event.id) != "ours":
        return None
    incident = await desk.store.incident(incident_id)
    if incident is None:
        raise Reject(f"incident {incident_id} is gone")
    text = Caption(en=fit(caption.en, channel.limit), ko=fit(caption.ko, channel.limit))
    snapshot = redacted_of(event)
    key = await _keep(snapshot, desk.snapshots)
    try:
        reference = await channel.post(incident, text, snapshot, f"bongsu-{incident_id}-{channel.name}")
    except ChannelError as error:
        # Nothing went out: another event of the incident may be luckier sooner.
        await desk.store.release(incident_id, channel.name, event.id)
        posts_total.labels(channel.name, "failed").inc()
        return ChannelError(f"{channel.name}: {error}", after_s=error.after_s)
    await desk.store.confirm(incident_id, channel.name, text=text, snapshot_key=key, reference=reference)
    posts_total.labels(channel.name, "posted").inc()
    log.info("alert_posted", channel=channel.name, incident=incident_id, with_picture=snapshot is not None)
    return None


async def _keep(snapshot: Redacted | None, snapshots: Snapshots) -> str | None:
    from notify.map.snapshots import SnapshotError

    if snapshot is None:
        return None
    try:
        return await snapshots.put(snapshot)
    except SnapshotError as error:
        # The alert is more urgent than its picture.
        log.warning("snapshot_not_kept", reason=str(error))
        return None
