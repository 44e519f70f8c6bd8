from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from pydantic import SecretStr

from functions.event import Box, utc_now
from motion.burst import BurstPace, BurstRecorder, CapturedBurst, followed
from motion.config import Burst, Camera, Jpeg, Place
from motion.picture import Picture

PLACE = Place(lat=37.5, lon=127.0, name="Gate")
BEGAN_AT = utc_now()


def take_all(pace: BurstPace, seconds: float, fps: int = 25) -> list[float]:
    """The moments of the frames taken while motion lasts throughout."""
    taken = []
    for i in range(round(seconds * fps)):
        at_s = 100 + i / fps
        pace.begin(at_s)
        if pace.take(at_s):
            taken.append(at_s - 100)
    return taken


def test_burst_starts_at_the_motion_and_keeps_its_spacing() -> None:
    taken = take_all(BurstPace(Burst(frames=4, spacing_s=0.25)), 1.5)
    assert np.allclose(taken, [0, 0.24, 0.48, 0.76], atol=0.03)


def test_a_camera_slower_than_the_spacing_gives_every_frame() -> None:
    assert np.allclose(take_all(BurstPace(Burst(frames=3, spacing_s=0.1)), 1.9, fps=2), [0, 0.5, 1.0])


def test_while_motion_lasts_another_burst_begins_every_interval() -> None:
    taken = take_all(BurstPace(Burst(frames=2, interval_s=2)), 6)
    assert np.allclose(taken[::2], [0, 2, 4], atol=0.05)


def test_no_camera_gets_more_bursts_in_a_minute_than_its_share() -> None:
    pace = BurstPace(Burst(frames=1, interval_s=1, max_per_minute=5))
    taken = take_all(pace, 130, fps=10)
    for start in range(70):
        assert len([t for t in taken if start <= t < start + 60]) <= 5
    assert len(taken) >= 11


def test_a_burst_cannot_begin_within_another() -> None:
    pace = BurstPace(Burst(frames=16, spacing_s=0.5, interval_s=0.5))
    assert pace.begin(100)
    assert pace.take(100)
    assert not pace.begin(101)
    pace.abandon()
    assert pace.begin(101)


def picture(image: Any, at_s: float) -> Picture:
    captured_at = BEGAN_AT + timedelta(seconds=at_s - 100)
    return Picture(av.VideoFrame.from_ndarray(image, format="bgr24"), captured_at, at_s)


def watch_crossing(
    camera: Camera, seconds: float = 4.0, moves_s: float = 2.0
) -> tuple[BurstRecorder, list[CapturedBurst]]:
    taken: list[CapturedBurst] = []
    watch = BurstRecorder(camera, taken.append)
    for i in range(round(seconds * 20)):
        image = np.full((360, 640, 3), 90, np.uint8)
        if i / 20 >= moves_s:
            x = int((i / 20 - moves_s) * 200) % 560
            image[150:220, x : x + 70] = 240
        watch.add_picture(picture(image, 100 + i / 20))
    return watch, taken


def camera(**changes: Any) -> Camera:
    return Camera(id="gate-1", url=SecretStr("clip.mp4"), place=PLACE, **changes)


def test_motion_becomes_a_burst_of_jpegs_with_their_times() -> None:
    _, taken = watch_crossing(camera(jpeg=Jpeg(width=320)), seconds=3.5)
    assert len(taken) == 1
    frames = taken[0].frames
    assert len(frames) == 4
    assert taken[0].got_at == frames[0].captured_at
    gaps = [(b.captured_at - a.captured_at).total_seconds() for a, b in itertools.pairwise(frames)]
    assert np.allclose(gaps, 0.25, atol=0.06)
    for frame in frames:
        image = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == (180, 320, 3)
        assert image.max() > 220, "the object is in the first frame already"


def test_a_burst_says_where_the_largest_thing_moved() -> None:
    _, taken = watch_crossing(camera(), seconds=3.5)
    moved = taken[0].moved
    assert moved is not None
    assert (moved.y1, moved.y2) == pytest.approx((150 / 360, 220 / 360), abs=0.05)
    assert moved.x1 < 0.15, "where it was at first"
    assert 0.3 < moved.x2 < 0.5, "and how far it had come 0.75 s later, at 200 px a second"


def test_what_moves_elsewhere_is_not_taken_for_the_same_thing() -> None:
    first, gone_on, other = Box(0.1, 0.1, 0.3, 0.3), Box(0.25, 0.1, 0.45, 0.3), Box(0.8, 0.8, 0.9, 0.9)
    assert followed(None, [first, other]) == first
    assert followed(first, [other, gone_on]) == Box(0.1, 0.1, 0.45, 0.3)


def test_where_nothing_moves_nothing_is_taken() -> None:
    assert watch_crossing(camera(), moves_s=99)[1] == []


def test_lost_camera_publishes_a_burst_that_can_be_confirmed() -> None:
    slow = camera(burst=Burst(frames=8, spacing_s=0.25))
    watch, taken = watch_crossing(slow, seconds=3.3)
    assert taken == []
    watch.lost()
    assert 2 <= len(taken[0].frames) < 8
    watch.lost()
    assert len(taken) == 1


def test_the_ways_into_a_camera_stay_in_one_file() -> None:
    room = Path(__file__).parents[2] / "motion"
    opening = {p.name for p in room.glob("*.py") if "av.open(" in p.read_text() or "VideoCapture" in p.read_text()}
    assert opening == {"opening.py", "clip.py"}  # clips are written, into memory
