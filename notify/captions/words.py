"""The text of an alert, in English and Korean: composed from detections and settings alone.

Every word comes from the event: hazard, labels and boxes from its detections, clothing and colours from its frame
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

from functions.event import HAZARDS, Box, Caption, Detection, Hazard, Place, Zone
from functions.hazards import KINDS
from notify.captions.attributes import Look
from notify.captions.districts import District
from notify.captions.looks import describe_looks, kind_of
from notify.captions.particles import attach

# Korea has had one offset, without summer time, since 1988; a zone name would need a time zone database in each image.
_KST = timezone(timedelta(hours=9), "KST")
_NAME_LENGTH_MAX = 80
# The scene network reports people from 0.2, so that no head is left uncovered; a caption needs more confidence.
_SURE = 0.5


@dataclass(frozen=True, slots=True)
class _Thing:
    """Words for a kind of thing: singular and plural in English, noun and counting word in Korean."""

    one: str
    many: str
    ko: str
    counter: str


_THINGS = {
    "person": _Thing("person", "people", "사람", "명"),
    "car": _Thing("car", "cars", "승용차", "대"),
    "truck": _Thing("truck", "trucks", "트럭", "대"),
    "bus": _Thing("bus", "buses", "버스", "대"),
    "motorcycle": _Thing("motorcycle", "motorcycles", "오토바이", "대"),
    "bicycle": _Thing("bicycle", "bicycles", "자전거", "대"),
    "vehicle": _Thing("vehicle", "vehicles", "차량", "대"),
}


@dataclass(frozen=True, slots=True)
class _Scene:
    """Facts that a caption may state."""

    hazard: Hazard
    box: Box | None
    zone: Caption | None
    counts: dict[str, int]
    others: Sequence[Hazard]
    name: str
    region_en: str
    region_ko: str
    camera: str
    time: str
    looks: Sequence[Caption]
    remark: str
    opinion: Caption


_WHERE = {
    ("left", "upper"): ("in the upper left", "왼쪽 위"),
    ("left", "middle"): ("on the left", "왼쪽"),
    ("left", "lower"): ("in the lower left", "왼쪽 아래"),
    ("centre", "upper"): ("at the top", "위쪽"),
    ("centre", "middle"): ("in the middle", "가운데"),
    ("centre", "lower"): ("at the bottom", "아래쪽"),
    ("right", "upper"): ("in the upper right", "오른쪽 위"),
    ("right", "middle"): ("on the right", "오른쪽"),
    ("right", "lower"): ("in the lower right", "오른쪽 아래"),
}


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
    opinion: Caption | None = None,
) -> Caption:
    """The caption of one hazard event.

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
        opinion: what a second opinion said, if one was asked; it follows the headline, so that no limit drops it.
    """
    sure = {place: look for place, look in (looks or {}).items() if detections[place].confidence >= _SURE}
    counts = count_things(detections, sure)
    names = {kind: (thing.one, thing.many, thing.ko, thing.counter) for kind, thing in _THINGS.items()}
    box = next((d.box for d in detections if d.label == hazard), None)
    scene = _Scene(
        hazard=hazard,
        box=box,
        zone=find_zone(box, zones),
        counts=counts,
        others=[other for other in HAZARDS if other != hazard and any(d.label == other for d in detections)],
        name=clean_name(place.name),
        region_en=district.en if district is not None else clean_name(place.region),
        region_ko=district.ko if district is not None else clean_name(place.region),
        camera=clean_name(camera),
        time=format_time(captured_at, is_korea=district is not None),
        looks=describe_looks(detections, sure, counts, names),
        remark=remark,
        opinion=opinion or Caption(en="", ko=""),
    )
    return Caption(en=_english(scene), ko=_korean(scene))


def count_things(detections: Sequence[Detection], looks: Mapping[int, Look] | None = None) -> dict[str, int]:
    """How many of each thing a caption mentions, people first; only confident detections count."""
    seen = enumerate(detections)
    counts = Counter(kind_of(d.label, (looks or {}).get(place)) for place, d in seen if d.confidence >= _SURE)
    return {label: counts[label] for label in _THINGS if counts[label]}


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
    return None if found is None else Caption(en=clean_name(found.en), ko=clean_name(found.ko))


def fit(text: str, limit: int) -> str:
    """The text in at most `limit` characters: whole sentences if they fill half, else cut at a word with an ellipsis.

    A shorter part may not even be a sentence: "Fire at St. Mary's Hospital …".
    """
    if len(text) <= limit:
        return text
    ends = [match.end(1) for match in re.finditer(r"([.!?])\s", text[: limit + 1])]
    if ends and limit / 2 <= ends[-1] <= limit:
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


def _english(scene: _Scene) -> str:
    name, region = scene.name, scene.region_en
    site = f"{name}, {region}" if name and region and region not in name else name or region
    headline = f"{KINDS[scene.hazard].headline.en} at {site or f'camera {scene.camera}'}"
    facts = []
    if scene.box is not None:
        near = f"near {scene.zone.en}, " if scene.zone is not None and scene.zone.en else ""
        facts.append(f"{KINDS[scene.hazard].subject.en}{near}{_WHERE[where(scene.box)][0]} of the picture")
    if scene.counts:
        facts.append(f"{_list_english([_count(label, n) for label, n in scene.counts.items()])} in view")
    sentences = [f"{headline}: {', '.join(facts)}." if facts else f"{headline}.", *filter(None, [scene.opinion.en])]
    if scene.others:
        sentences.append(f"Also seen: {_list_english([KINDS[other].mention.en for other in scene.others])}.")
    # The least important sentences come last: a channel with a short limit drops them first.
    details = [look.en for look in scene.looks]
    return " ".join([*sentences, f"{scene.time}.", *details, *filter(None, [scene.remark])])


def _korean(scene: _Scene) -> str:
    name, region = scene.name, scene.region_ko
    site = f"{name}({region})" if name and region and region not in name else name or region
    # "에서" has the same form after any name, unlike the particles that depend on its last sound.
    sentences = [f"{site or f'카메라 {scene.camera}'}에서 {KINDS[scene.hazard].headline.ko}."]
    sentences += filter(None, [scene.opinion.ko])
    things = ", ".join(f"{_THINGS[label].ko} {n}{_THINGS[label].counter}" for label, n in scene.counts.items())
    spot = ""
    if scene.box is not None:
        near = f", {scene.zone.ko} 부근에서" if scene.zone is not None and scene.zone.ko else "에"
        spot = f"화면 {_WHERE[where(scene.box)][1]}{near} {attach(KINDS[scene.hazard].subject.ko, '이/가')}"
    if spot and things:
        sentences.append(f"{spot} 보이고, {attach(things, '이/가')} 함께 보입니다.")
    elif spot:
        sentences.append(f"{spot} 보입니다.")
    elif things:
        sentences.append(f"화면에 {attach(things, '이/가')} 보입니다.")
    if scene.others:
        sentences.append(f"{', '.join(KINDS[other].mention.ko for other in scene.others)}도 함께 감지되었습니다.")
    return " ".join([*sentences, f"{scene.time}.", *(look.ko for look in scene.looks)])


def _count(label: str, n: int) -> str:
    thing = _THINGS[label]
    return f"{n} {thing.one if n == 1 else thing.many}"


def _list_english(items: Sequence[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def clean_name(name: str) -> str:
    """A name from the settings in one line of limited length, without unprintable characters."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return _cut(" ".join(printable.split()), _NAME_LENGTH_MAX)
