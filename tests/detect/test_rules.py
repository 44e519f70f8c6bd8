from __future__ import annotations

import itertools
import random

import pytest

from detect.rules import RULES, Confirmed, Rule, can_confirm, confirm, enough, fits
from functions import HAZARDS, Box, Detection


def seen(label: str, confidence: float, x: float = 0.2, y: float = 0.2, size: float = 0.2) -> Detection:
    return Detection(label, confidence, Box(x, y, x + size, y + size))


def test_two_agreeing_frames_confirm() -> None:
    (confirmed,) = confirm([[], [seen("fire", 0.6)], [], [seen("fire", 0.8)]])
    assert (confirmed.hazard, confirmed.frame, confirmed.confidence) == ("fire", 3, pytest.approx(0.7))
    assert confirmed.detection.confidence == 0.8


def test_one_frame_is_never_proof() -> None:
    assert confirm([[seen("gun", 0.99)], [], [], []]) == []
    assert confirm([[seen("gun", 0.99), seen("gun", 0.98, x=0.3)]]) == []


@pytest.mark.parametrize("hazard", list(RULES))
def test_a_median_under_the_threshold_is_ignored(hazard: str) -> None:
    threshold = RULES[hazard].threshold  # type: ignore[index]
    assert confirm([[seen(hazard, threshold - 0.02)]] * 4) == []
    assert len(confirm([[seen(hazard, threshold + 0.02)]] * 4)) == 1


def test_a_camera_may_set_its_own_threshold() -> None:
    burst = [[seen("fire", 0.5)]] * 4
    assert confirm(burst, {"fire": 0.6}) == []
    assert len(confirm(burst, {"fire": 0.2})) == 1


@pytest.mark.parametrize("hazard", list(RULES))
def test_fewer_frames_than_the_rule_asks_for_are_no_proof(hazard: str) -> None:
    needed = RULES[hazard].frames  # type: ignore[index]
    assert needed >= 2
    assert confirm([[seen(hazard, 0.9)]] * (needed - 1) + [[]]) == []
    assert len(confirm([[seen(hazard, 0.9)]] * needed)) == 1


def test_boxes_in_different_places_do_not_add_up() -> None:
    assert confirm([[seen("gun", 0.9, x=0.0)], [seen("gun", 0.9, x=0.7)]]) == []


def test_a_moving_object_is_followed() -> None:
    burst = [[seen("knife", 0.7, x=0.1 + 0.1 * i)] for i in range(4)]
    (confirmed,) = confirm(burst)
    assert confirmed.confidence == pytest.approx(0.7)


def test_hazards_are_confirmed_side_by_side_surest_first() -> None:
    burst = [[seen("gun", 0.6), seen("knife", 0.9, x=0.7)]] * 3
    assert [c.hazard for c in confirm(burst)] == ["knife", "gun"]


def test_other_labels_and_empty_bursts_confirm_nothing() -> None:
    assert confirm([]) == []
    assert confirm([[], []]) == []
    assert confirm([[seen("person", 0.99)]] * 4) == []


def test_burst_left_early_could_prove_nothing() -> None:
    settled = 0
    for labels in itertools.product((None, *HAZARDS), repeat=4):
        frames = [[seen(label, 0.99)] if label else [] for label in labels]
        for looked_at in range(1, 4):
            if not can_confirm(frames[:looked_at], 4 - looked_at):
                settled += 1
                assert confirm(frames) == []
    assert settled


def test_early_exit_never_hides_a_hazard() -> None:
    chance, settled = random.Random(0), 0
    for _ in range(2000):
        rules = {h: Rule(0.3, chance.choice([0.5, 5.0]), chance.randint(1, 5)) for h in HAZARDS}
        frames = [
            [seen(chance.choice([*HAZARDS, "person"]), 0.9, x=chance.random() / 2) for _ in range(chance.randint(0, 2))]
            for _ in range(chance.randint(1, 6))
        ]
        for looked_at in range(enough(len(frames), rules), len(frames) + 1):
            if not can_confirm(frames[:looked_at], len(frames) - looked_at, rules):
                settled += 1
                assert confirm(frames, rules=rules) == []
    assert settled > 1000


@pytest.mark.parametrize("frames", range(1, 6))
def test_burst_without_hazard_is_settled_early(frames: int) -> None:
    needed = enough(frames)
    assert 1 <= needed <= frames
    assert not can_confirm([[]] * needed, frames - needed)
    assert needed == 1 or can_confirm([[]] * (needed - 1), frames - needed + 1)


@pytest.mark.parametrize("hazard", list(RULES))
def test_a_second_look_must_be_as_much_surer_as_its_rule_says(hazard: str) -> None:
    rule = RULES[hazard]  # type: ignore[index]
    for own in ({}, {hazard: 0.45}):
        least = own.get(hazard, rule.threshold) + rule.zoom_penalty
        assert confirm([[seen(hazard, least - 0.02)]] * 4, own, look="moved") == []
        assert len(confirm([[seen(hazard, least + 0.02)]] * 4, own, look="moved")) == 1


def armed(hazard: str, confidence: float, size: float = 0.1) -> Confirmed:
    (confirmed,) = confirm([[seen(hazard, confidence, size=size)]] * 4)
    return confirmed


@pytest.mark.parametrize("hazard", ["gun", "knife"])
def test_a_weapon_that_nobody_is_near_must_be_surer(hazard: str) -> None:
    holder, passer = seen("person", 0.3, x=0.32, y=0.1, size=0.3), seen("person", 0.9, x=0.7, y=0.1, size=0.3)
    doubtful, sure = (armed(hazard, RULES[hazard].threshold + more) for more in (0.1, 0.25))  # type: ignore[index]
    assert fits(doubtful, [holder])
    assert not fits(doubtful, [passer, seen("car", 0.9, size=0.1)])
    assert not fits(doubtful, [])
    assert fits(sure, [])


def test_frame_filling_weapon_needs_a_holder() -> None:
    rail = armed("gun", 0.95, size=0.6)
    assert not fits(rail, [])
    assert fits(rail, [seen("person", 0.4, x=0.3)])


@pytest.mark.parametrize("hazard", ["fire", "accident"])
def test_fires_and_accidents_need_nobody(hazard: str) -> None:
    assert fits(armed(hazard, 0.6, size=0.6), [])
