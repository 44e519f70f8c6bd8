"""The hazards that Bongsu alerts people to: one entry each, with everything that a room writes or shows about it.

To add one: its name in `Hazard` and its entry in `KINDS` here, its rule in `detect/rules.py`, and weights that have its
class. Then `make generate` updates the queues in manifests, topology and compose, and the tables in the docs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Hazard = Literal["accident", "fire", "gun", "knife"]
HAZARDS: tuple[Hazard, ...] = get_args(Hazard)
"""In the order of the classes of a detection network that does not name them, as the shipped one."""


@dataclass(frozen=True, slots=True)
class Words:
    """One text in each language of the alerts."""

    en: str
    ko: str


@dataclass(frozen=True, slots=True)
class Look:
    """How a hazard looks on the page. Colours are CSS; shape and glyph tell hazards apart without them."""

    ink: tuple[str, str]
    """Colour of text and outlines, on the light and on the dark page."""
    soft: tuple[str, str]
    """Background colour, on the light and on the dark page."""
    solid: str
    """Colour of the pin under its white glyph: a contrast of at least 4.5."""
    shape: str
    """The pin's outline: an SVG path in a 32 by 32 box."""
    glyph: tuple[str, ...]
    """SVG paths in a 24 by 24 box."""


@dataclass(frozen=True, slots=True)
class Road:
    """What feeds for drivers and traffic centres call a hazard on a road."""

    cifs_type: str
    """Waze's CIFS `type`."""
    cifs_subtype: str
    """Its `subtype`; empty where a camera cannot tell them apart."""
    datex_record: str
    """DATEX II v3: the type of the situation record, …"""
    datex_field: str
    """… the element that only this type has, …"""
    datex_value: str
    """… and what it says."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Everything about one hazard that is not its detection."""

    title: Words
    """The name alone, as on a chip."""
    plural: str
    """English, as in "accidents, fires, guns and knives"."""
    event: Words
    """The event's name in a CAP alert."""
    headline: Words
    """The start of a caption: English before "at <place>", Korean after "<place>에서"."""
    subject: Words
    """The subject of "… is on the left": English ends with a space or is empty, Korean takes a particle."""
    mention: Words
    """The sentence for this hazard when it is seen as well as the first one."""
    claims: tuple[str, ...]
    """English words by which an image-captioning network mentions this hazard."""
    cap_categories: tuple[str, ...]
    """CAP 1.2 `category` codes, the main one first."""
    cap_severity: tuple[str, str]
    """CAP 1.2 `severity`: as detected, and once a person has confirmed it."""
    look: Look
    road: Road | None = None
    """For feeds of road hazards; None where traffic is not concerned."""
    other_names: tuple[str, ...] = ()
    """Names that the class of this hazard has in other detection networks, in lower case."""
    is_held: bool = False
    """Whether it is held in the hand, often near the face: the mosaic of a face must not cover it."""
    is_movable: bool = True
    """Whether a cut-out of it can be pasted into another scene for training."""


KINDS: Mapping[Hazard, Kind] = {
    "accident": Kind(
        title=Words("Accident", "사고"),
        plural="accidents",
        event=Words("Traffic accident", "교통사고"),
        headline=Words("Accident", "사고가 감지되었습니다"),
        subject=Words("", "사고 현장"),
        mention=Words("an accident", "사고"),
        claims=("accident", "crash", "crashed"),
        cap_categories=("Transport", "Safety"),
        cap_severity=("Moderate", "Severe"),
        road=Road("ACCIDENT", "", "Accident", "accidentType", "accident"),
        is_movable=False,
        other_names=("car accident", "traffic accident", "crash", "car crash"),
        look=Look(
            ink=("#a8530a", "#f3aa55"),
            soft=("#fbeedd", "#3a2c1a"),
            solid="#b4590a",
            shape="M16 1.6l14.4 14.4-14.4 14.4L1.6 16z",
            glyph=(
                "M2.5 16.5v-3l1.6-1 2-4h6.4l3.2 3.7 2.8.9v3.4h-1.7a2.2 2.2 0 0 0-4.4 0H9a2.2 2.2 0 0 0-4.4 0z",
                "M6.8 15.2a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3zM14.6 15.2a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3z",
                "M17.3 10.2l.4-3.5 1.5 2 2.5-1.4-.9 2.7 2.3 1.1-2.9 1z",
            ),
        ),
    ),
    "fire": Kind(
        title=Words("Fire", "화재"),
        plural="fires",
        event=Words("Fire", "화재"),
        headline=Words("Fire", "화재가 감지되었습니다"),
        subject=Words("flames ", "불길"),
        mention=Words("fire", "화재"),
        claims=("fire", "flames", "smoke", "burning"),
        cap_categories=("Fire", "Safety"),
        cap_severity=("Moderate", "Severe"),
        road=Road("HAZARD", "HAZARD_ON_ROAD", "PoorEnvironmentConditions", "poorEnvironmentType", "nearbyFire"),
        other_names=("flame", "flames"),
        look=Look(
            ink=("#c81e1e", "#ff8378"),
            soft=("#fde8e6", "#3d2121"),
            solid="#cc2222",
            shape="M16 2a14 14 0 1 1 0 28 14 14 0 0 1 0-28z",
            glyph=(
                "M12.3 2.5c.8 4.3 5.7 6 5.7 11.8 0 3.9-2.7 6.7-6 6.7s-6-2.8-6-6.6c0-2.8 1.3-4.7 2.8-6.1.2 1.8.9 2.7 "
                "1.9 3.2-.4-3.3.3-6.3 1.6-9z",
            ),
        ),
    ),
    "gun": Kind(
        title=Words("Gun", "총기"),
        plural="guns",
        event=Words("Gun seen", "총기 발견"),
        headline=Words("Gun seen", "총기가 감지되었습니다"),
        subject=Words("", "총기"),
        mention=Words("a gun", "총기"),
        claims=("gun",),
        cap_categories=("Security",),
        cap_severity=("Moderate", "Severe"),
        is_held=True,
        other_names=("pistol", "handgun", "rifle", "firearm"),
        look=Look(
            ink=("#6d35c9", "#bda0ff"),
            soft=("#f0eafc", "#2f2745"),
            solid="#6d35c9",
            shape="M9 3.5h14L30.5 16 23 28.5H9L1.5 16z",
            glyph=("M2.5 6.5h18l1 1.2v3h-7.3l-.6 2.9a1.6 1.6 0 0 1-1.6 1.3H9.5L8.4 19.5H3.6l1.6-8.3H3.5l-1-1.5z",),
        ),
    ),
    "knife": Kind(
        title=Words("Knife", "흉기"),
        plural="knives",
        event=Words("Knife seen", "흉기 발견"),
        headline=Words("Knife seen", "칼이 감지되었습니다"),
        subject=Words("", "칼"),
        mention=Words("a knife", "칼"),
        claims=("knife",),
        cap_categories=("Security",),
        cap_severity=("Moderate", "Severe"),
        is_held=True,
        look=Look(
            ink=("#0f6b70", "#5fd0cf"),
            soft=("#e0f1f1", "#173435"),
            solid="#0f7277",
            shape="M7 3h18a4 4 0 0 1 4 4v18a4 4 0 0 1-4 4H7a4 4 0 0 1-4-4V7a4 4 0 0 1 4-4z",
            glyph=("M20.5 2.8c1 5.4-2.2 10-7 12.7l-3.4-3.4z", "M9.3 12.9l3.3 3.3-5.6 5a1.9 1.9 0 0 1-2.7-2.7z"),
        ),
    ),
}

if KINDS.keys() != set(HAZARDS):
    raise TypeError(f"KINDS must have one entry for each of {', '.join(HAZARDS)}, has {', '.join(KINDS)}")


def hazard_named(name: str) -> Hazard | None:
    """The hazard that is meant by the name of a network's class, if any: `Fire`, `handgun`."""
    wanted = name.strip().lower().replace("_", " ").replace("-", " ")
    return next((hazard for hazard, kind in KINDS.items() if wanted in (hazard, *kind.other_names)), None)


def list_plurals() -> str:
    """All hazards in one English phrase: "accidents, fires, guns and knives"."""
    *names, last = (KINDS[hazard].plural for hazard in HAZARDS)
    return f"{', '.join(names)} and {last}"
