"""The third look: at whom it is taken, what it accepts, and that a far gun is found in somebody's hand."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from detect.people import keep_weapons, parts_with_people, people_from_environment
from detect.rules import Confirmed, surest
from detect.worker import detect, open_detector
from functions import Box, Detection
from models.network import HAZARD
from models.registry import ModelError
from tests.detect.test_worker import burst
from tests.detect.test_zoom import from_afar


def person(x: float, height: float = 0.3, confidence: float = 0.8) -> Detection:
    return Detection("person", confidence, Box(x, 0.3, x + height / 3, 0.3 + height))


def test_a_part_reaches_as_far_as_a_persons_arms() -> None:
    (part,) = parts_with_people([person(0.4)], 4)
    assert [part.x1, part.y1, part.x2, part.y2] == pytest.approx([0.37, 0.21, 0.53, 0.69])


def test_only_the_largest_persons_are_inspected() -> None:
    people = [person(0.1, 0.1), person(0.4, 0.4), person(0.8, 0.2)]
    assert [part.around(p.box) == part for part, p in zip(parts_with_people(people, 2), people[1:], strict=True)] == [
        True,
        True,
    ]


def test_unsure_persons_and_cars_are_not_looked_at() -> None:
    assert parts_with_people([person(0.4, confidence=0.25), Detection("car", 0.9, Box(0, 0, 0.2, 0.2))], 4) == []


def test_two_who_stand_together_are_looked_at_once() -> None:
    assert len(parts_with_people([person(0.4), person(0.41)], 4)) == 1


def test_weapons_alone_are_kept_and_placed_in_the_frame() -> None:
    found = [Detection(label, 0.9, Box(0.5, 0.5, 1, 1)) for label in ("gun", "fire")]
    (gun,) = keep_weapons(found, Box(0.2, 0.2, 0.4, 0.6))
    assert gun.label == "gun"
    assert [gun.box.x1, gun.box.y1, gun.box.x2, gun.box.y2] == pytest.approx([0.3, 0.4, 0.4, 0.6])


def test_of_several_persons_the_surest_gun_counts() -> None:
    guns = [Confirmed("gun", 0, Detection("gun", c, Box(0, 0, 0.1, 0.1)), c) for c in (0.5, 0.8)]
    assert surest(guns) == [guns[1]]


@pytest.mark.parametrize("given", ["four", "-1", "1.5"])
def test_an_invalid_number_of_people_is_named(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("BONGSU_DETECT_PEOPLE", given)
    with pytest.raises(ModelError, match=f"must be a number from 0, got '{given}'"):
        people_from_environment()


@pytest.mark.parametrize(("people", "types"), [("0", []), ("4", ["gun"])])
async def test_a_far_gun_is_found_in_the_hand_of_who_holds_it(
    monkeypatch: pytest.MonkeyPatch, people: str, types: list[str]
) -> None:
    monkeypatch.setenv("BONGSU_DETECT_PEOPLE", people)
    # The look is tested here and not the weights, which are less sure of a gun of so few pixels.
    monkeypatch.setattr("detect.detector.hazard_spec", lambda: replace(HAZARD, int8=None, min_confidence=0.1))
    # Without `moved` there is no second look.
    far, where = from_afar(msgspec.structs.replace(burst("gun", 15), thresholds={"gun": 0.05}))
    async with open_detector() as detector:
        found = await detect([burst("street", 10), far], detector)
    assert [event.type for event in found] == types
    assert all(event.id == far.id and where.around(event.detections[0].box) == where for event in found)


async def test_a_broken_frame_in_the_middle_does_not_hide_the_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONGSU_DETECT_PEOPLE", "4")
    far, _ = from_afar(msgspec.structs.replace(burst("gun", 15), thresholds={"gun": 0.25}))
    broken = msgspec.structs.replace(far.frames[2], jpeg=b"\xff\xd8 no picture")
    async with open_detector() as detector:
        whole = detector._people_in(far)
        rest = detector._people_in(msgspec.structs.replace(far, frames=(*far.frames[:2], broken, far.frames[3])))
    assert [d.label for d in rest] == [d.label for d in whole] != []
