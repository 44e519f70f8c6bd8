from __future__ import annotations

import numpy as np
import pytest

from detect.training.corpus import Truth
from detect.training.scores import (
    LOOSE,
    at_threshold,
    average_precision,
    calibration_error,
    count_detected,
    count_weapons,
    match,
    reliability,
)
from functions import HAZARDS, Box, Detection

FIRE, GUN, KNIFE = map(HAZARDS.index, ("fire", "gun", "knife"))
WEAPON = len(HAZARDS)


def box(x: float, size: float = 0.2) -> Box:
    return Box(x, 0.1, x + size, 0.1 + size)


def fire(confidence: float, x: float = 0.1) -> Detection:
    return Detection("fire", confidence, box(x))


def test_all_found_and_nothing_else_is_one() -> None:
    matched = match([[fire(0.9)], [fire(0.4, 0.5)]], [[Truth(FIRE, box(0.1))], [Truth(FIRE, box(0.5))]], FIRE)
    assert average_precision(matched) == pytest.approx(np.ones(10))
    assert at_threshold(matched, 0.5) == (1.0, 0.5)


def test_a_box_counts_once() -> None:
    matched = match([[fire(0.9), fire(0.8)]], [[Truth(FIRE, box(0.1))]], FIRE)
    assert matched.hit[:, 0].tolist() == [True, False]
    assert at_threshold(matched, 0.1) == (0.5, 1.0)


def test_a_surer_error_costs_more_than_a_doubtful_one() -> None:
    truth = [[Truth(FIRE, box(0.1))]]
    sure = match([[fire(0.5), fire(0.9, 0.7)]], truth, FIRE)
    doubtful = match([[fire(0.5), fire(0.1, 0.7)]], truth, FIRE)
    assert average_precision(sure)[0] == pytest.approx(0.5)
    assert average_precision(doubtful)[0] == pytest.approx(1.0)


def test_a_loose_box_is_right_at_a_low_overlap_only() -> None:
    found = [[Detection("fire", 0.9, Box(0.1, 0.1, 0.3, 0.4))]]
    scores = average_precision(match(found, [[Truth(FIRE, box(0.1))]], FIRE))
    assert found[0][0].box.iou(box(0.1)) == pytest.approx(2 / 3)
    assert scores.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_flame_framed_with_its_car_matches_at_iou_10() -> None:
    found = [[Detection("fire", 0.9, Box(0.1, 0.1, 0.2, 0.2))]]
    truth = [[Truth(FIRE, Box(0.1, 0.1, 0.4, 0.4))]]
    assert average_precision(match(found, truth, FIRE, [LOOSE])).tolist() == [1.0]
    assert average_precision(match(found, truth, FIRE))[0] == 0.0


def test_a_picture_counts_once_however_many_boxes_tell_of_it() -> None:
    found = [[fire(0.9), fire(0.8, 0.6)], [fire(0.3)], [fire(0.9)], []]
    truths = [[Truth(FIRE, box(0.1))], [Truth(FIRE, box(0.1))], [], []]
    assert count_detected(found, truths, FIRE, 0.5) == (1, 2, 1, 2)


def test_other_hazards_and_missed_boxes() -> None:
    matched = match([[Detection("gun", 0.9, box(0.1))]], [[Truth(FIRE, box(0.1))]], FIRE)
    assert average_precision(matched).tolist() == [0] * 10
    assert matched.truths == 1
    assert np.isnan(average_precision(match([[fire(0.9)]], [[]], FIRE))).all()


def test_reliability_compares_what_is_told_with_what_is_true() -> None:
    found = [[fire(0.85)] if i < 10 else [fire(0.25)] for i in range(20)]
    truths = [[Truth(FIRE, box(0.1))] if i < 8 else [] for i in range(20)]
    rows = reliability([match(found, truths, FIRE)])
    assert rows == [(pytest.approx(0.25), 0.0, 10), (pytest.approx(0.85), 0.8, 10)]
    assert calibration_error(rows) == pytest.approx((0.25 + 0.05) / 2)


def test_gun_at_unknown_weapon_is_neither_right_nor_wrong() -> None:
    found, truths = [[Detection("gun", 0.9, box(0.4))]], [[Truth(WEAPON, box(0.4))]]
    assert len(match(found, truths, GUN).confidence) == 0
    assert count_detected(found, truths, GUN, 0.5) == (0, 0, 0, 0)
    assert count_weapons(found, truths, {"gun": 0.5, "knife": 0.5}) == (1, 1, 0, 0)
    beside = [[Truth(WEAPON, Box(0, 0, 0.1, 0.1))]]
    assert len(match(found, beside, GUN).confidence) == 1


def test_a_knife_told_where_a_gun_is_shown_tells_of_a_weapon() -> None:
    found = [[Detection("knife", 0.9, box(0.4))], [Detection("fire", 0.9, box(0.4))], []]
    truths = [[Truth(GUN, box(0.4))], [], [Truth(KNIFE, box(0.4))]]
    assert count_weapons(found, truths, {"gun": 0.5, "knife": 0.5, "fire": 0.5}) == (1, 2, 0, 1)
