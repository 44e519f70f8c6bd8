"""The third look of a burst: at the people in it, for weapons are in somebody's reach. `detect/worker.py` calls it.

A pistol across the street is two pixels of a whole frame at 320 px, and some thirty of its owner seen alone. What is
found there is accepted for weapons only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from detect.zoom import placed
from functions import Box, Detection
from functions.hazards import KINDS
from models.registry import ModelError

ARMED: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if kind.is_held)
"""What is looked for in somebody's reach."""
PERSON = "person"

_ROOM = 1.6
"""How much wider and higher than a person the part is: arms reach out of the box of who holds something."""
_SURE = 0.3
"""Least confidence of a person: seen alone, a coat on its hanger would be asked for its gun."""
_SAME = 0.6
"""Share of a person's part that lies in another's from which on it is not looked at for itself."""


def parts_with_people(around: Sequence[Detection], most: int) -> list[Box]:
    """Where to look: a part of the frame around each person, the largest persons first.

    Args:
        around: what the scene network found.
        most: so many at most.
    """
    people = [d for d in around if d.label == PERSON and d.confidence >= _SURE]
    parts: list[Box] = []
    for person in sorted(people, key=lambda d: -d.box.area):
        part = person.box.grown(_ROOM)
        if all(part.shared(other) < _SAME * part.area for other in parts):
            parts.append(part)
    return parts[:most]


def keep_weapons(found: Sequence[Detection], part: Box) -> list[Detection]:
    """The weapons that were found in a part, in fractions of the whole frame."""
    return [placed(each, part) for each in found if each.label in ARMED]


def people_from_environment() -> int:
    """`BONGSU_DETECT_PEOPLE`: at how many people of a burst to look, default 0: at none (docs/detector.md says why).

    Raises:
        ModelError: it is not a number.
    """
    given = os.environ.get("BONGSU_DETECT_PEOPLE") or "0"
    if not given.isdecimal():
        raise ModelError(f"BONGSU_DETECT_PEOPLE must be a number from 0, got {given!r}")
    return int(given)
