"""The third look at a burst: at the people in it, as a weapon is near a person. `detect/worker.py` calls it.

A pistol across the street is two pixels in a whole frame at 320 px, and some thirty in a crop of its owner. Only
weapons are accepted from these crops.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from detect.zoom import placed
from functions import Box, Detection
from functions.hazards import KINDS
from models.registry import ModelError

ARMED: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if kind.is_held)
"""Hazards that are searched for near people."""
PERSON = "person"

_ROOM = 1.6
"""How much wider and higher than a person the crop is: the arms of a person who holds something leave the box."""
_SURE = 0.3
"""Minimum confidence of a person: in a crop, even a coat on a hanger could seem to have a gun."""
_SAME = 0.6
"""A person's crop is skipped if at least this share of it lies in another's."""


def parts_with_people(around: Sequence[Detection], most: int) -> list[Box]:
    """Crops of the frame around each person, largest persons first.

    Args:
        around: the scene network's detections.
        most: the most crops.
    """
    parts: list[Box] = []
    for person in people_in(around):
        part = person.grown(_ROOM)
        if all(part.shared(other) < _SAME * part.area for other in parts):
            parts.append(part)
    return parts[:most]


def people_in(around: Sequence[Detection]) -> list[Box]:
    """The people among the scene network's detections, largest first."""
    people = [d.box for d in around if d.label == PERSON and d.confidence >= _SURE]
    return sorted(people, key=lambda box: -box.area)


def keep_weapons(found: Sequence[Detection], part: Box) -> list[Detection]:
    """The weapons that were found in a crop, in fractions of the whole frame."""
    return [placed(each, part) for each in found if each.label in ARMED]


def people_from_environment() -> int:
    """`BONGSU_DETECT_PEOPLE`: the number of people in a burst to look at; default 0 (docs/detector.md says why).

    Raises:
        ModelError: it is not a number.
    """
    given = os.environ.get("BONGSU_DETECT_PEOPLE") or "0"
    if not given.isdecimal():
        raise ModelError(f"BONGSU_DETECT_PEOPLE must be a number from 0, got {given!r}")
    return int(given)
