"""The text of an alert, in each language: composed from detections and settings alone, in the words of the catalogue.

Every fact comes from the event: hazard, labels and boxes from its detections, clothing and colours from its frame
(`attributes.py`), zones, place and time as the camera's settings and clock give them, the district from the
coordinates. A caption never mentions labels that the detector cannot find, and never says that something was not found:
not found does not mean not there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial, reduce

from functions import catalogue
from functions.event import HAZARDS, Box, Caption, Detection, Hazard, Place, Zone
from notify.captions.attributes import Look
from notify.captions.districts import District
from notify.captions.looks import SeenLooks, count_looks, describe_look, kind_of, list_all

# Korea has had one offset, without summer time, since 1988; a zone name would need a time zone database in each image.
_KST = timezone(timedelta(hours=9), "KST")
_NAME_LENGTH_MAX = 80
# Japanese and Chinese have no space after a sentence.
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[。！？]")
# The scene network reports people from 0.2, so that no head is left uncovered; a caption needs more confidence.
_SURE = 0.5


_THINGS = ("person", "car", "truck", "bus", "motorcycle", "bicycle", "vehicle")
"""What a caption counts, in this order."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """Facts that a caption may state."""

    hazard: Hazard
    box: Box | None
    zone: Caption | None
    counts: dict[str, int]
    others: Sequence[Hazard]
    name: str
    region: Caption
    camera: str
    time: str
    looks: Sequence[SeenLooks]
    remark: str
    opinion: str


def compose(
    hazard: Hazard,
    detections: Sequence[Detection],
    place: Place,
    captured_at: datetime,
    *,
    district: District | None,
    camera: str,
    zones: Sequence[Zone] = (),
    looks: Mapping[int, Look] | None = None,
    remark: str = "",
    languages: Sequence[str] = (),
    opinion: str = "",
) -> Caption:
    """The caption of one hazard event, in English, Korean and further languages.

    Args:
        hazard: the hazard of the event.
        detections: detections in the frame.
        place: position and name of the camera.
        captured_at: when (UTC).
        district: its district, if known.
        camera: its id, used where the place has no name.
        zones: named parts of the picture; the first that contains the foot of the hazard's box is named.
        looks: clear attributes of a detection, by its index in `detections`.
        remark: an English sentence that `describe.py` has checked; it comes last.
        languages: of `functions/catalogue/`; English and Korean need not be among them.
        opinion: key of what a second opinion said, if any; it follows the headline, so that no limit drops it.
    """
    sure = {place: look for place, look in (looks or {}).items() if detections[place].confidence >= _SURE}
    counts = count_things(detections, sure)
    region = clean_name(place.region)
    box = next((d.box for d in detections if d.label == hazard), None)
    scene = _Scene(
        hazard=hazard,
        box=box,
        zone=find_zone(box, zones),
        counts=counts,
        others=[other for other in HAZARDS if other != hazard and any(d.label == other for d in detections)],
        name=clean_name(place.name),
        region=Caption(region, region) if district is None else Caption(district.en, district.ko),
        camera=clean_name(camera),
        time=format_time(captured_at, is_korea=district is not None),
        looks=count_looks(detections, sure, counts),
        remark=remark,
        opinion=opinion,
    )
    spoken = dict.fromkeys((*catalogue.OWN, *languages))
    return Caption.of({language: _say(scene, language) for language in spoken})


def count_things(detections: Sequence[Detection], looks: Mapping[int, Look] | None = None) -> dict[str, int]:
    """How many of each thing a caption mentions, people first; only confident detections count."""
    seen = enumerate(detections)
    counts = Counter(kind_of(d.label, (looks or {}).get(place)) for place, d in seen if d.confidence >= _SURE)
    return {thing: counts[thing] for thing in _THINGS if counts[thing]}


def where(box: Box) -> tuple[str, str]:
    """Position of a box in the picture, by thirds: left, centre or right, and upper, middle or lower."""
    x, y = box.center
    across = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "centre"
    return across, "upper" if y < 1 / 3 else "lower" if y > 2 / 3 else "middle"


def find_zone(box: Box | None, zones: Sequence[Zone]) -> Caption | None:
    """The name of the zone that contains a box's foot, the middle of its lower edge."""
    if box is None:
        return None
    foot = (box.x1 + box.x2) / 2, box.y2
    found = next((zone.name for zone in zones if zone.holds(*foot)), None)
    return None if found is None else Caption.of({name: clean_name(text) for name, text in found.texts.items()})


def fit(text: str, limit: int) -> str:
    """The text in at most `limit` characters: whole sentences if they fill half, else cut at a word with an ellipsis.

    A shorter part may not even be a sentence: "Fire at St. Mary's Hospital …".
    """
    if len(text) <= limit:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text[: limit + 1]) if match.end() <= limit]
    if ends and limit / 2 <= ends[-1]:
        return text[: ends[-1]]
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    """The text in at most `limit` characters, cut at a word, with an ellipsis."""
    if len(text) <= limit:
        return text
    cut = text[: max(limit - 1, 0)].rstrip()
    words = cut.rpartition(" ")[0] if " " in cut and text[len(cut) : len(cut) + 1].strip() else cut
    return f"{words or cut}…"[:limit]


def format_time(captured_at: datetime, *, is_korea: bool) -> str:
    """The time of day with its zone: KST in Korea, else UTC."""
    return captured_at.astimezone(_KST).strftime("%H:%M KST") if is_korea else captured_at.strftime("%H:%M UTC")


def _say(scene: _Scene, language: str) -> str:
    say = partial(catalogue.say, language)
    facts: dict[str, str] = {}
    if scene.box is not None:
        facts["spot"] = _spot(scene, scene.box, language)
    if scene.counts:
        facts["things"] = list_all(language, [say(f"thing-{thing}", n=n) for thing, n in scene.counts.items()])
    key = f"caption-alert{'-spot' if 'spot' in facts else ''}{'-view' if 'things' in facts else ''}"
    headline = catalogue.name_hazard(scene.hazard, language, "headline")
    sentences = [say(key, headline=headline, site=_site(scene, language), **facts)]
    if scene.opinion:
        sentences.append(say(scene.opinion))
    if scene.others:
        mentions = [catalogue.name_hazard(other, language, "mention") for other in scene.others]
        sentences.append(say("caption-also", hazards=list_all(language, mentions)))
    # The least important sentences come last: a channel with a short limit drops them first.
    sentences += [say("caption-time", time=scene.time), *(describe_look(look, language) for look in scene.looks)]
    if scene.remark and language == "en":
        sentences.append(scene.remark)
    return reduce(lambda text, following: say("caption-then", text=text, next=following), sentences)


def _spot(scene: _Scene, box: Box, language: str) -> str:
    """Where in the picture the hazard is."""
    spot = {
        "subject": catalogue.name_hazard(scene.hazard, language, "subject"),
        "where": catalogue.say(language, f"where-{'-'.join(where(box))}"),
    }
    zone = "" if scene.zone is None else _named(scene.zone, language)
    if zone:
        return catalogue.say(language, "caption-spot-zone", **spot, zone=zone)
    return catalogue.say(language, "caption-spot", **spot)


def _site(scene: _Scene, language: str) -> str:
    name, region = scene.name, _named(scene.region, language)
    if name and region and region not in name:
        return catalogue.say(language, "caption-site", name=name, region=region)
    return name or region or catalogue.say(language, "caption-camera", id=scene.camera)


def _named(name: Caption, language: str) -> str:
    """A name in a language; the English one for a further language that it has none in."""
    return name.text(language) if language in catalogue.OWN else name.text(language) or name.en


def clean_name(name: str) -> str:
    """A name from the settings in one line of limited length, without unprintable characters."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return _cut(" ".join(printable.split()), _NAME_LENGTH_MAX)
