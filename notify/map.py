"""The map function: records hazards, captions and camera states in the database that the API serves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from functions.event import CameraStatus, Captioned, DecodeError, HazardSeen, Held, decode, utc_now
from functions.function import Reject, Retry, on
from functions.signature import LATE_IMPORTS as _SIGNATURE
from functions.signature import Verifier
from notify.resources import LATE_IMPORTS as _STORES
from notify.resources import RETRY_AFTER_S, open_stores, require_signature
from privacy.redact import redacted_of, thumbnail_of

if TYPE_CHECKING:
    from store import Store
    from store.snapshots import Snapshots

__all__ = ["LATE_IMPORTS", "Map", "open_map", "put_on_map"]

LATE_IMPORTS = (*_STORES, *_SIGNATURE)

# A module named `notify.map` is imported before any `store`, so nothing heavy may be imported here.


@dataclass(frozen=True, slots=True)
class Map:
    """The stores that the map is written to."""

    store: Store
    snapshots: Snapshots
    verifier: Verifier | None = None
    """None only in tests."""


@contextlib.asynccontextmanager
async def open_map() -> AsyncIterator[Map]:
    """Open the stores that the environment names.

    Raises:
        SettingsError: a setting is invalid; the runtime reports it and exits.
    """
    verifier = Verifier.from_environment()
    async with open_stores() as (store, snapshots):
        yield Map(store, snapshots, verifier)


# One handler for all types, so that a replica has one connection and handles events in their order of arrival.
@on(HazardSeen, Captioned, Held, CameraStatus, uses=open_map)
async def put_on_map(event: HazardSeen | Captioned | Held | CameraStatus, map_: Map) -> None:
    """Record a hazard at once without a picture, its caption and picture when they arrive, and camera states.

    A `held` event holds its incident until an operator reviews it.

    Raises:
        Reject: a `captioned` or `held` event without the captioner's signature.
        Retry: the database or the picture store failed.
    """
    from store import StoreError
    from store.snapshots import SnapshotError

    got_at = utc_now()
    try:
        if isinstance(event, CameraStatus):
            await map_.store.cameras.record(event)
        elif isinstance(event, (Captioned, Held)):
            captioned = event if isinstance(event, Captioned) else _alert_in(event)
            require_signature(captioned, map_.verifier)
            await map_.store.sightings.record(captioned, by="map", got_at=got_at)
            picture = redacted_of(captioned) if await map_.store.captions.is_wanted(captioned) else None
            key = await map_.snapshots.put(picture, thumbnail_of(captioned)) if picture is not None else None
            held = event.alert if isinstance(event, Held) else None
            await map_.store.captions.add(captioned, key, by="map", got_at=got_at, held=held)
        else:
            await map_.store.sightings.record(event, by="map", got_at=got_at)
    except (StoreError, SnapshotError) as error:
        raise Retry(str(error), after=RETRY_AFTER_S) from error


def _alert_in(held: Held) -> Captioned:
    """The alert that is held, with the trace of the event that brought it, which is longer."""
    try:
        found = decode(held.alert)
    except DecodeError as error:
        raise Reject(f"a held event without an alert: {error}") from error
    if not isinstance(found, Captioned) or (found.id, found.hazard) != (held.id, held.hazard):
        raise Reject("a held event with the alert of another event")
    return msgspec.structs.replace(found, trace=held.trace)
