"""How bench/confirm.py scores bursts against labels: what counts as found, as late and as false."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bench.confirm import Burst, judge, pictures, play, upper_bound
from detect.worker import Eye
from functions import Hazard

MEDIA = Path(__file__).parents[2] / "local/demo/media"


def burst(begin_s: float, *hazards: Hazard) -> Burst:
    return Burst(begin_s, begin_s + 0.75, hazards)


def test_a_hazard_is_found_when_a_burst_of_its_time_confirms_it() -> None:
    outcome = judge([burst(1), burst(4), burst(6, "fire"), burst(8, "fire")], "fire", (3.0, 10.0))
    assert (outcome.bursts, outcome.confirmed, outcome.false_alerts) == (3, 2, 0)
    assert outcome.delay_s == pytest.approx(3.75)


def test_the_edges_of_a_label_are_not_scored_against_it() -> None:
    outcome = judge([burst(2.0, "fire"), burst(10.4, "fire")], "fire", (3.0, 10.0))
    assert (outcome.confirmed, outcome.delay_s, outcome.false_alerts) == (2, 0.0, 0)


def test_what_is_confirmed_elsewhere_is_false_and_one_alert_within_the_quiet_period() -> None:
    bursts = [burst(10, "gun"), burst(50, "gun"), burst(300, "gun")]
    assert judge(bursts, "gun", None).false_alerts == 2
    assert judge(bursts, "gun", (40.0, 60.0)).false_alerts == 2
    assert judge(bursts, "fire", None).false_alerts == 0


def test_no_event_seen_still_allows_three() -> None:
    assert upper_bound(0) == pytest.approx(3.0, abs=0.01)
    assert upper_bound(3) == pytest.approx(7.75, abs=0.01)


def test_a_clip_is_played_from_its_held_first_picture_and_its_fire_is_found() -> None:
    times = [p.at_s for p in pictures(MEDIA / "fire.mp4")]
    assert times[0] < 0
    assert all(a < b for a, b in itertools.pairwise(times))
    length_s, bursts = play(MEDIA / "fire.mp4", Eye())
    assert length_s > 50
    assert judge(bursts, "fire", (0.0, length_s)).confirmed >= 1
