"""The streams of one camera, from real files and over RTSP: a sub-stream to look at, rest, and a frozen picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import SecretStr

from motion import burst as burst_module
from motion.burst import CapturedBurst
from motion.camera import Burst, Camera, Place
from motion.decoding import FRAMES_SPARED
from motion.stream import LIVE
from motion.streams import CameraStreams
from tests.motion.rtsp_camera import RtspCamera, Viewer, encoded

PLACE = Place(lat=37.5, lon=127.0, name="Gate")


class Watched:
    """A camera that runs, and what came of it."""

    def __init__(self, url: str, **changes: Any) -> None:
        self.bursts: list[CapturedBurst] = []
        self.states: list[str] = []
        burst = Burst(frames=3, spacing_s=0.1, interval_s=1.0, scene_interval_s=0)
        camera = Camera(id="gate-1", url=SecretStr(url), place=PLACE, burst=burst, **changes)
        self.streams = CameraStreams(camera, self.bursts.append, self.states.append)
        self.streams.start()

    def until(self, claim: Callable[[], bool], within_s: float = 30.0) -> None:
        end_s = time.monotonic() + within_s
        while not claim():
            assert time.monotonic() < end_s, f"it did not happen: {self.states}, {len(self.bursts)} bursts"
            self.streams.watch()
            time.sleep(0.05)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    running: list[Watched] = []

    def start(url: str, **changes: Any) -> Watched:
        running.append(Watched(url, **changes))
        return running[-1]

    yield start
    for watched in running:
        watched.streams.stop()


def width_of(burst: CapturedBurst) -> int:
    image = cv2.imdecode(np.frombuffer(burst.frames[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return int(image.shape[1])


def test_sub_stream_is_watched_and_main_stream_sent(draw_clip: Any, watch: Callable[..., Watched]) -> None:
    small = draw_clip("small.mp4", seconds=8, moves_s=3)
    large = draw_clip("large.mp4", seconds=8, moves_s=3, size=(640, 384))
    watched = watch(str(large), detect_url=SecretStr(str(small)))
    watched.until(lambda: bool(watched.bursts))
    assert width_of(watched.bursts[0]) == 640
    assert watched.states == [LIVE]


def test_lost_main_stream_sends_sub_stream_pictures(draw_clip: Any, watch: Callable[..., Watched]) -> None:
    watched = watch("none.mp4", detect_url=SecretStr(str(draw_clip("small.mp4", seconds=8, moves_s=3))))
    watched.until(lambda: bool(watched.bursts))
    assert width_of(watched.bursts[0]) == 320
    assert "lost: no such file or device (url)" in watched.states


def test_a_quiet_camera_rests_over_rtsp_and_stays_live(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(burst_module, "SETTLING_S", 2.0)
    monkeypatch.setattr(burst_module, "REST_S", 0.5)
    frames = encoded(25, key_every=25)

    def play(viewer: Viewer) -> None:
        i = 0
        while not viewer.is_gone.wait(0.04):
            viewer.send(frames[i % 25], i * 0.04)
            i += 1

    before = FRAMES_SPARED.labels("gate-1")._value.get()
    with RtspCamera(frames, play) as camera:
        watched = watch(camera.url)
        watched.until(lambda: FRAMES_SPARED.labels("gate-1")._value.get() > before + 100)
        assert watched.states == [LIVE]
        newest_at_s = watched.streams.last_frame_at_s
        assert newest_at_s is not None
        assert time.monotonic() - newest_at_s < 2


def test_a_frozen_picture_is_lost_until_it_moves_again(draw_clip: Any, watch: Callable[..., Watched]) -> None:
    watched = watch(str(draw_clip(seconds=6, moves_s=4)), frozen_s=2.0)
    watched.until(lambda: len(watched.states) >= 3)
    assert watched.states[:3] == [
        LIVE,
        "lost: frozen: the picture has not changed in 2 s: restart the camera",
        LIVE,
    ]
