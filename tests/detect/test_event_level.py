"""How bench/confirm.py scores bursts against labels: what counts as found, as late and as false."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.confirm import Burst, ClipTally, judge, pictures, play, summary
from bench.intervals import resampled, upper_bound, wilson
from detect.detector import HazardDetector
from functions import Hazard

ROOT = Path(__file__).parents[2]
MEDIA = ROOT / "local/demo/media"


def burst(begin_s: float, *hazards: Hazard) -> Burst:
    return Burst(begin_s, begin_s + 0.75, hazards)


def test_a_hazard_is_found_when_a_burst_of_its_time_confirms_it() -> None:
    outcome = judge([burst(1), burst(4), burst(6, "fire"), burst(8, "fire")], "fire", (3.0, 10.0))
    assert (outcome.bursts, outcome.confirmed, outcome.false_alerts) == (3, 2, 0)
    assert outcome.delay_s == pytest.approx(3.75)


def test_the_edges_of_a_label_are_not_scored_against_it() -> None:
    outcome = judge([burst(2.0, "fire"), burst(10.4, "fire")], "fire", (3.0, 10.0))
    assert (outcome.confirmed, outcome.delay_s, outcome.false_alerts) == (2, 0.0, 0)


def test_alert_at_the_wrong_place_is_false_and_counted_once() -> None:
    bursts = [burst(10, "gun"), burst(50, "gun"), burst(300, "gun")]
    assert judge(bursts, "gun", None).false_alerts == 2
    assert judge(bursts, "gun", (40.0, 60.0)).false_alerts == 2
    assert judge(bursts, "fire", None).false_alerts == 0


def test_interval_is_as_wide_as_clips_differ() -> None:
    assert resampled([(4, 8)] * 5) == (0.5, 0.5)
    low, high = resampled([(8, 8), (0, 8)] * 3)
    assert low < 0.25 and high > 0.75
    assert resampled([(0, 0)]) == (0.0, 1.0)


def test_synthetic_clips_are_summed_apart() -> None:
    lines = summary({"real": [ClipTally(3, 4, 1, 0.5, 1)], "synthetic: rain": [ClipTally(0, 0, 0, 0.5, 2)]})
    assert lines[2] == "| real | 0.50 | 3 of 4, 30% to 95% | 1 | 2.0, 2.0 to 9.5 |"
    # None in a quarter of an hour that was watched twice may still be 12 an hour.
    assert lines[3] == "| synthetic: rain | 0.50 | 0 of 0, 0% to 100% | 0 | 0.0, 0.0 to 12.0 |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| real", "| synthetic: rain", "| all synthetic"]


def test_no_event_seen_still_allows_three() -> None:
    assert upper_bound(0) == pytest.approx(3.0, abs=0.01)
    assert upper_bound(3) == pytest.approx(7.75, abs=0.01)
    low, high = wilson(5, 5)
    assert low == pytest.approx(0.57, abs=0.01) and high == 1


def test_mirrored_clip_has_its_right_side_left() -> None:
    plain, turned = (next(pictures(MEDIA / "fire.mp4", mirrored=m)).frame for m in (False, True))
    one, other = (frame.to_ndarray(format="gray").astype(int) for frame in (plain, turned))
    assert abs(one[:, ::-1] - other).mean() < 4 < abs(one - other).mean()


def test_clip_plays_from_its_first_frame_and_fire_is_found() -> None:
    times = [p.at_s for p in pictures(MEDIA / "fire.mp4")]
    assert times[0] < 0
    assert all(a < b for a, b in itertools.pairwise(times))
    length_s, bursts = play(MEDIA / "fire.mp4", HazardDetector())
    assert length_s > 50
    assert judge(bursts, "fire", (0.0, length_s)).confirmed >= 1


def test_pictures_and_clips_are_measured_with_the_same_weights() -> None:
    given = ["DATA=city", "CLIPS=clips", "WEIGHTS=runs/city.onnx"]
    done = subprocess.run(["make", "-n", "evaluate", *given], cwd=ROOT, capture_output=True, text=True, check=True)
    commands = [line for line in done.stdout.splitlines() if "training.evaluate" in line or "bench.confirm" in line]
    assert len(commands) == 2
    assert all("--weights runs/city.onnx" in command for command in commands)


def test_a_folder_without_the_clips_is_told_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "BONGSU_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "bench.confirm"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"{tmp_path}/video has no adith_cctv.mp4: CLIPS in bench/confirm.py lists the clips and what they show\n"
    )
