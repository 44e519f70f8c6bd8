"""The poster: one post for each incident and channel, with caption and redacted picture."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from functions.event import Caption, Captioned, utc_now
from functions.function import Reject, Retry, on
from functions.signature import LATE_IMPORTS as _SIGNATURE
from functions.signature import Verifier
from notify.channels import Channel, ChannelError, PreparedChannel, SelectiveChannel, UnknownOutcomeError
from notify.resources import LATE_IMPORTS as _STORES
from notify.resources import RETRY_AFTER_S, open_stores, require_signature
from privacy.drawn import drawn_of
from privacy.redact import redacted_of

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store import Store
    from store.snapshots import Snapshots

log = structlog.get_logger()

posts_total = Counter("bongsu_posts_total", "Posts, by outcome", ["channel", "outcome"])

LATE_IMPORTS = (*_STORES, *_SIGNATURE, "notify.posting.opening")

# Under the 20 s that the handler may take, so that its outcome is still recorded in the claim.
_CHANNEL_S = 15.0


@dataclass(frozen=True, slots=True)
class PosterResources:
    """Resources of one replica."""

    store: Store
    snapshots: Snapshots
    channels: Sequence[Channel]
    max_age_s: float = 0.0
    """Older captures are not posted; 0 for no limit."""
    verifier: Verifier | None = None
    """None only in tests."""


@contextlib.asynccontextmanager
async def open_poster() -> AsyncIterator[PosterResources]:
    """Open the stores and channels that the environment names.

    Raises:
        SettingsError: a setting is invalid; the runtime reports it and exits.
    """
    from notify.posting import settings as environment
    from notify.posting.opening import open_channels

    async with contextlib.AsyncExitStack() as stack:
        settings, verifier = environment.load(), Verifier.from_environment()
        channels = await stack.enter_async_context(open_channels(settings))
        store, snapshots = await stack.enter_async_context(open_stores())
        yield PosterResources(store, snapshots, channels, settings.post_max_age_s, verifier)


@on(Captioned, uses=open_poster)
async def post(event: Captioned, resources: PosterResources) -> None:
    """Post the event's incident on every channel that has not posted it yet.

    Raises:
        Reject: the event does not have the captioner's signature.
        Retry: a channel or the database failed; posts on other channels stay confirmed.
    """
    from store import StoreError

    require_signature(event, resources.verifier)
    try:
        incident_id = await resources.store.sightings.record(event, by="post", got_at=utc_now())
        if _is_too_old(event, resources) and not await resources.store.held.is_released(event):
            await _pass_over(event, incident_id, resources)
            return
    except StoreError as error:
        raise Retry(str(error), after=RETRY_AFTER_S) from error
    # Concurrently, so that a slow channel does not delay the others.
    results = await asyncio.gather(
        *(_post_on(channel, event, incident_id, resources) for channel in resources.channels), return_exceptions=True
    )
    _raise_failures(results)


def _raise_failures(results: Sequence[ChannelError | BaseException | None]) -> None:
    from store import StoreError

    failed = [result for result in results if isinstance(result, ChannelError)]
    broken = [result for result in results if isinstance(result, StoreError)]
    for result in results:
        # A refusal, a bug or a cancellation, which the runtime handles.
        if isinstance(result, BaseException) and not isinstance(result, (ChannelError, StoreError)):
            raise result
    if broken:
        raise Retry(str(broken[0]), after=RETRY_AFTER_S) from broken[0]
    if failed:
        # Retry when the first channel allows it: a channel that must wait longer sends nothing then.
        raise Retry("; ".join(map(str, failed)), after=min(failure.after_s for failure in failed)) from failed[0]


async def _post_on(
    channel: Channel, event: Captioned, incident_id: int, resources: PosterResources
) -> ChannelError | None:
    """Post on one channel; a failure is returned rather than raised, so that the other channels continue."""
    if not _is_wanted(channel, event):
        await resources.store.posts.skip(incident_id, channel.name, event.id)
        return None
    if isinstance(channel, PreparedChannel):
        await channel.prepare()
    claim = await resources.store.posts.claim(
        incident_id, channel.name, event.id, channel.fit(event.caption, incident_id)
    )
    if claim.outcome != "ours" or claim.text is None:
        return None
    incident = await resources.store.incidents.get(incident_id)
    if incident is None:
        raise Reject(f"incident {incident_id} is gone")
    snapshot, location = redacted_of(event), drawn_of(event)
    # Concurrently: a picture store that does not answer may delay the alert by a few seconds at most.
    key, location_key = await asyncio.gather(_keep(snapshot, resources.snapshots), _keep(location, resources.snapshots))
    try:
        async with asyncio.timeout(_CHANNEL_S):
            reference = await channel.post(
                incident, claim.text, snapshot, _key_of(incident_id, channel, claim.text), location
            )
    except TimeoutError:
        return _unknown(channel, UnknownOutcomeError(f"no answer within {_CHANNEL_S:.0f} s"))
    except UnknownOutcomeError as error:
        return _unknown(channel, error)
    except ChannelError as error:
        # Nothing went out: release the claim, so that another event of the incident may succeed sooner.
        await resources.store.posts.release(incident_id, channel.name, claim)
        posts_total.labels(channel.name, "failed").inc()
        return ChannelError(f"{channel.name}: {error}", after_s=error.after_s)
    await resources.store.posts.confirm(
        incident_id, channel.name, text=claim.text, snapshot_key=key, location_key=location_key, reference=reference
    )
    posts_total.labels(channel.name, "posted").inc()
    log.info("alert_posted", channel=channel.name, incident=incident_id, with_picture=snapshot is not None)
    return None


def _is_wanted(channel: Channel, event: Captioned) -> bool:
    return not isinstance(channel, SelectiveChannel) or channel.wants(event.hazard, event.place)


def _key_of(incident_id: int, channel: Channel, text: Caption) -> str:
    """The idempotency key by which a server recognizes a repeated alert; its text stays the same while it may be out.

    The incident's id alone is not enough: another installation that posts there, or this one after its database was
    restored from a backup, reuses the id for another incident, which the server would treat as a repeat.
    """
    words = hashlib.blake2b("\n".join(text.texts.values()).encode(), digest_size=6).hexdigest()
    return f"bongsu-{incident_id}-{channel.name}-{words}"


def _unknown(channel: Channel, error: UnknownOutcomeError) -> ChannelError:
    """A post that may be out keeps its claim and its text until a later attempt shows the outcome."""
    posts_total.labels(channel.name, "unknown").inc()
    return ChannelError(f"{channel.name}: {error}", after_s=error.after_s)


def _is_too_old(event: Captioned, resources: PosterResources) -> bool:
    return 0 < resources.max_age_s < (utc_now() - event.captured_at).total_seconds()


async def _pass_over(event: Captioned, incident_id: int, resources: PosterResources) -> None:
    """Skip an incident that is too old to post, and log it for each channel that has not posted it."""
    posted = {sent.channel for sent in await resources.store.posts.of_incident(incident_id)}
    for channel in resources.channels:
        if channel.name not in posted and _is_wanted(channel, event):
            posts_total.labels(channel.name, "too_old").inc()
            age_s = round((utc_now() - event.captured_at).total_seconds(), 1)
            log.warning("alert_too_old", channel=channel.name, incident=incident_id, age_s=age_s)


async def _keep(picture: Redacted | Drawn | None, snapshots: Snapshots) -> str | None:
    from store.snapshots import SnapshotError

    if picture is None:
        return None
    try:
        return await snapshots.put(picture)
    except SnapshotError as error:
        # An alert without a picture is better than a late one.
        log.warning("snapshot_not_kept", reason=str(error))
        return None
