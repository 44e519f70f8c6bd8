"""Warns people near an incident by Web Push: one notification for an incident, changed and withdrawn where it is.

A function of its own rather than a channel of `post`: a channel has one post for each incident, and here each of
thousands of subscribers has a claim, an outcome and a retry of its own. The first handler decides whom an event
concerns and publishes batches of them; the second sends one batch, in as many replicas as there are batches.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import structlog
from prometheus_client import Counter

from functions.event import Captioned, Event, Reviewed, utc_now
from functions.function import Reject, Retry, on
from functions.settings import SettingsError, read
from functions.signature import LATE_IMPORTS as _SIGNATURE
from functions.signature import Verifier
from notify.pushing.settings import PushSettings
from notify.resources import LATE_IMPORTS as _STORES
from notify.resources import RETRY_AFTER_S, open_stores, require_signature
from privacy.redact import redacted_of, thumbnail_of

if TYPE_CHECKING:
    from notify.pushing.message import State
    from notify.pushing.sender import Delivery, PushSender
    from store import Store
    from store.push_subscriptions import PushSubscription
    from store.records import Incident
    from store.snapshots import Snapshots

log = structlog.get_logger()

warnings_total = Counter("bongsu_push_warnings_total", "Warnings by Web Push, by outcome", ["outcome"])
ended_total = Counter("bongsu_push_subscriptions_ended_total", "Subscriptions that were deleted, by reason", ["reason"])

LATE_IMPORTS = (*_STORES, *_SIGNATURE, "notify.pushing.message", "notify.pushing.sender")

_BATCH = 200
_SENDING_S = 14.0
"""Under the 20 s that the handler may take, so that what was sent is still recorded."""
_TTL_S = 600


class PushBatch(Event, frozen=True, kw_only=True, tag="push"):
    """Some subscribers whom an incident concerns; what they are sent is read from the database when it is sent."""

    origin: ClassVar[str] = "/incidents"

    incident: int
    subscribers: tuple[int, ...]
    made_at: datetime

    @property
    def subject(self) -> str:
        """The incident's id."""
        return str(self.incident)

    @property
    def time(self) -> datetime:
        """When it was made (UTC)."""
        return self.made_at


@dataclass(frozen=True, slots=True)
class Push:
    """Resources of one replica."""

    store: Store
    snapshots: Snapshots
    sender: PushSender
    settings: PushSettings
    verifier: Verifier | None = None
    """None only in tests."""


@contextlib.asynccontextmanager
async def open_push() -> AsyncIterator[Push | None]:
    """Open the stores and the sender; None where no key is set, so that nobody can have subscribed.

    Raises:
        SettingsError: a setting is invalid; the runtime reports it and exits.
    """
    settings = read(PushSettings)
    if not settings.push_key:
        yield None
        return
    verifier = Verifier.from_environment()
    async with contextlib.AsyncExitStack() as stack:
        try:
            from notify.pushing.sender import open_sender

            sender = await stack.enter_async_context(open_sender(settings))
        except ImportError as error:
            raise SettingsError(f"BONGSU_PUSH_KEY: {error}: pip install 'bongsu[push]'") from None
        except ValueError as error:
            raise SettingsError(str(error)) from None
        store, snapshots = await stack.enter_async_context(open_stores())
        yield Push(store, snapshots, sender, settings, verifier)


@on(Captioned, Reviewed, PushBatch, uses=open_push)
async def push(event: Captioned | Reviewed | PushBatch, resources: Push | None) -> Sequence[PushBatch]:
    """Find whom an alert or its withdrawal concerns, as batches, or send one batch.

    Raises:
        Reject: a `captioned` event without the captioner's signature.
        Retry: the database failed, or some of a batch could not be sent yet.
    """
    if resources is None:
        return ()
    from store import StoreError

    try:
        if isinstance(event, PushBatch):
            await _send_batch(event, resources)
            return ()
        if isinstance(event, Reviewed):
            informed = await resources.store.push_notices.informed(event.incident)
            return _batches(event.id, event.incident, informed if event.verdict == "false_alarm" else ())
        require_signature(event, resources.verifier)
        return await _find_subscribers(event, resources)
    except StoreError as error:
        raise Retry(str(error), after=RETRY_AFTER_S) from error


async def _find_subscribers(event: Captioned, resources: Push) -> Sequence[PushBatch]:
    from notify.pushing.message import content_of

    store, now = resources.store, utc_now()
    incident_id = await store.sightings.record(event, by="push", got_at=now)
    is_old = 0 < resources.settings.push_max_age_s < (now - event.captured_at).total_seconds()
    if is_old and not await store.held.is_released(event):
        warnings_total.labels("too_old").inc()
        return ()
    near = await store.push_subscriptions.around(event.hazard, event.place.lat, event.place.lon)
    if not near:
        return ()
    await _show(event, resources)
    incident = await store.incidents.get(incident_id)
    if incident is None or incident.is_false_alarm:
        return ()
    awake = [each.id for each in near if not each.wish.is_quiet(now)]
    changed_before = now - timedelta(seconds=resources.settings.push_update_s)
    due = await store.push_notices.due(incident_id, awake, content_of(incident), changed_before=changed_before)
    return _batches(event.id, incident_id, due)


async def _show(event: Captioned, resources: Push) -> None:
    """Have the incident show its words and picture, as the map does, before a notification leads there."""
    from store.snapshots import SnapshotError

    if not await resources.store.captions.is_wanted(event):
        return
    picture, key = redacted_of(event), None
    try:
        key = None if picture is None else await resources.snapshots.put(picture, thumbnail_of(event))
    except SnapshotError as error:
        # A warning without a picture is better than a late one; the map adds it when it can.
        log.warning("snapshot_not_kept", reason=str(error))
    await resources.store.captions.add(event, key)


def _batches(event_id: str, incident_id: int, subscribers: Sequence[int]) -> Sequence[PushBatch]:
    """The subscribers in batches, whose ids are the same whenever the event is delivered again."""
    now = utc_now()
    return [
        PushBatch(
            id=f"{event_id[:50]}.{start}",
            incident=incident_id,
            subscribers=tuple(subscribers[start : start + _BATCH]),
            made_at=now,
        )
        for start in range(0, len(subscribers), _BATCH)
    ]


async def _send_batch(batch: PushBatch, resources: Push) -> None:
    from notify.pushing.message import content_of
    from notify.pushing.sender import send_all
    from store.push_notices import WITHDRAWN

    notices = resources.store.push_notices
    incident = await resources.store.incidents.get(batch.incident)
    if incident is None:
        raise Reject(f"incident {batch.incident} is gone")
    wanted: Sequence[int] = batch.subscribers
    content = content_of(incident)
    if incident.is_false_alarm:
        # Only those who were warned need to know.
        informed = set(await notices.informed(batch.incident))
        wanted, content = [each for each in wanted if each in informed], WITHDRAWN
    elif 0 < resources.settings.push_max_age_s < (utc_now() - batch.made_at).total_seconds():
        warnings_total.labels("too_old").inc(len(wanted))
        log.warning("warnings_too_old", incident=incident.id, subscribers=len(wanted))
        return
    claimed = await notices.claim(batch.incident, wanted, content, by=batch.id)
    sends = {
        each.id: partial(_send_one, each, incident, _state_of(incident, is_update=claimed[each.id]), resources)
        for each in await resources.store.push_subscriptions.of(list(claimed))
    }
    deliveries = await send_all(sends, at_once=resources.settings.push_concurrency, within_s=_SENDING_S)
    await _record(batch, incident, content, deliveries, resources)


def _state_of(incident: Incident, *, is_update: bool) -> State:
    if incident.is_false_alarm:
        return "withdrawn"
    return "update" if is_update else "alert"


async def _send_one(subscription: PushSubscription, incident: Incident, state: State, resources: Push) -> Delivery:
    from notify.pushing.message import compose, topic_of
    from notify.pushing.sender import Delivery
    from store.push_endpoints import open_sealed

    try:
        endpoint = open_sealed(subscription.sealed, resources.sender.key)
    except ValueError as error:
        # The browser is bound to the old key as well: it subscribes again when its page is next opened.
        return Delivery("gone", reason=str(error))
    payload = compose(incident, subscription.wish.language, state)
    urgency = "high" if state == "alert" else "normal"
    return await resources.sender.send(endpoint, payload, topic=topic_of(incident), ttl_s=_TTL_S, urgency=urgency)


async def _record(
    batch: PushBatch, incident: Incident, content: str, deliveries: dict[int, Delivery], resources: Push
) -> None:
    """Keep what was sent, delete who is gone, and have the rest tried again."""
    by_outcome: dict[str, list[int]] = {"sent": [], "gone": [], "later": [], "refused": []}
    for id_, delivery in deliveries.items():
        by_outcome[delivery.outcome].append(id_)
        warnings_total.labels(delivery.outcome).inc()
    # What was refused would be refused again: it counts as done, and the log says why.
    done = by_outcome["sent"] + by_outcome["refused"]
    await resources.store.push_notices.confirm(batch.incident, done, content)
    await resources.store.push_subscriptions.delete(by_outcome["gone"])
    ended_total.labels("gone").inc(len(by_outcome["gone"]))
    await _note(deliveries, resources)
    counts = {outcome: len(ids) for outcome, ids in by_outcome.items()}
    log.info("warnings_sent", incident=incident.id, is_withdrawal=incident.is_false_alarm, **counts)
    if refused := by_outcome["refused"]:
        log.error("warnings_refused", incident=incident.id, reasons=sorted({deliveries[id_].reason for id_ in refused}))
    if later := by_outcome["later"]:
        waits = [deliveries[id_].after_s for id_ in later]
        reasons = ", ".join(sorted({deliveries[id_].reason for id_ in later}))
        raise Retry(f"{len(later)} of {len(deliveries)} warnings not sent yet: {reasons}", after=min(waits))


async def _note(deliveries: dict[int, Delivery], resources: Push) -> None:
    """Count failures in a row, and delete who could not be reached for days.

    Where nobody was reached, our own network or key may be at fault: then nothing counts.
    """
    reached = [id_ for id_, each in deliveries.items() if each.outcome == "sent"]
    failed = [id_ for id_, each in deliveries.items() if each.outcome in ("later", "refused") and each.is_theirs]
    if not reached:
        return
    most, days = resources.settings.push_failures, resources.settings.push_failing_days
    begun_before = utc_now() - timedelta(days=days)
    ended = await resources.store.push_subscriptions.note(
        reached=reached, failed=failed, most=most, begun_before=begun_before
    )
    if ended:
        ended_total.labels("failing").inc(len(ended))
        reasons = sorted({deliveries[id_].reason for id_ in ended})
        log.warning("subscriptions_ended", count=len(ended), failures=most, days=days, reasons=reasons)
