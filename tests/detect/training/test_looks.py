"""Ways to look for weapons are compared by what they tell of pictures, at thresholds of a stated false rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from detect.training.corpus import Truth, read_corpus, read_image
from detect.training.looks import Told, _describe, _groups_table, _looks_table, tables, threshold_at
from detect.training.scores import match, told, told_weapon
from functions import HAZARDS, Box, Detection
from models.network import HAZARD
from tests.detect.pictures import corpus

GUN, KNIFE, WEAPON = HAZARDS.index("gun"), HAZARDS.index("knife"), len(HAZARDS)
BOX = Box(0.4, 0.3, 0.6, 0.7)


def gun(confidence: float) -> Detection:
    return Detection("gun", confidence, BOX)


@pytest.mark.parametrize(("rate", "false"), [(0.0, 0), (0.1, 1), (0.25, 2), (1.0, 10)])
def test_a_threshold_is_wrong_in_no_more_pictures_than_stated(rate: float, false: int) -> None:
    confidences = [0.9, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0]
    least = threshold_at(confidences, rate)
    # Of equal confidences all are told or none.
    assert sum(c >= least for c in confidences) == (1 if rate == 0.25 else false)


def test_a_gun_found_at_a_weapon_of_unknown_kind_is_neither_right_nor_wrong() -> None:
    found, truths = [[gun(0.9)]], [[Truth(WEAPON, BOX)]]
    assert len(match(found, truths, GUN).confidence) == 0
    assert told(found, truths, GUN, 0.5) == (0, 0, 0, 0)
    assert told_weapon(found, truths, {"gun": 0.5, "knife": 0.5}) == (1, 1, 0, 0)
    beside = [[Truth(WEAPON, Box(0, 0, 0.1, 0.1))]]
    assert len(match(found, beside, GUN).confidence) == 1


def test_a_knife_told_where_a_gun_is_shown_tells_of_a_weapon() -> None:
    found = [[Detection("knife", 0.9, BOX)], [Detection("fire", 0.9, BOX)], []]
    truths = [[Truth(GUN, BOX)], [], [Truth(KNIFE, BOX)]]
    assert told_weapon(found, truths, {"gun": 0.5, "knife": 0.5, "fire": 0.5}) == (1, 2, 0, 1)


def test_looks_are_counted_by_size_and_light(tmp_path: Path) -> None:
    folder = corpus(
        tmp_path, ("a", "x", "val", "weapon", "s"), ("b", "x", "val", "negative", "t"), labels="4 .5 .5 .05 .05"
    )
    samples = read_corpus(folder)
    pictures = [_describe(sample, read_image(sample)) for sample in samples]
    assert [(p.is_armed, p.size, p.light) for p in pictures] == [(True, "small", "night"), (False, "", "night")]
    seen = {"whole": [Told(0.6, True, 10), Told(0.5, True, 20)]}
    rows = _looks_table(pictures, seen)
    assert rows[-1] == "| whole | 1 | 1 | 0.50 | 1 | 15 |"
    assert _groups_table(pictures, seen)[:3] == [
        "| look | small (of 1) | night (of 1) |",
        "|---|---|---|",
        "| whole | 1 | 1 |",
    ]


def test_the_shipped_networks_are_compared_on_a_corpus(tmp_path: Path) -> None:
    folder = corpus(tmp_path, ("a", "x", "val", "gun", "s"), ("b", "x", "val", "negative", "t"), labels="2 .5 .5 .3 .3")
    lines = tables(folder, HAZARD.path, "cpu")
    assert [line.split(" |")[0] for line in lines if line.startswith("| four")] == ["| four tiles of 0.6"] * 2
