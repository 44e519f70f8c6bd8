"""Which frames are decoded: real H.264 and MJPEG files, watched as a camera is, at the times in the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import SecretStr

from motion.burst import SETTLING_S, BurstRecorder, CapturedBurst
from motion.config import Burst, Camera, Place
from motion.decoding import Decoder
from motion.picture import Picture
from motion.reading import START_AT, read_file, watch_file

FPS = 10
MOVES_S, STAYS_S = 33.5, 3.0
Write = Callable[..., Path]
_OPTIONS = {
    "libx264": {"bf": "0", "preset": "veryfast", "sc_threshold": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "scenecut=0:bframes=0:log-level=none:keyint=20:min-keyint=20"},
    "libsvtav1": {"preset": "13", "svtav1-params": "scd=0:pred-struct=1:lp=1"},
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A noisy scene of 43 s in which a block moves from 33.5 s on, for three seconds."""

    def written(
        name: str = "clip.mp4", *, gop: int = 20, codec: str = "libx264", seconds: float = 43,
        extra: dict[str, str] | None = None, every: int = 1,
    ) -> Path:  # fmt: skip
        rng = np.random.default_rng(2)
        street = np.kron(rng.integers(60, 150, (6, 10)), np.ones((32, 32)))
        options = {**_OPTIONS.get(codec, {}), **({"g": str(gop)} if codec != "mjpeg" else {}), **(extra or {})}
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=FPS, options=options)
            stream.width, stream.height = 320, 192
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for i in range(round(seconds * FPS)):
                image = street + rng.normal(0, 2, street.shape)
                if every > 1 and i / FPS < MOVES_S and i % every:
                    continue  # fewer frames a second while nothing moves
                moved_s = i / FPS - MOVES_S
                if 0 <= moved_s < STAYS_S:
                    x = int(20 + 60 * moved_s)
                    image[70:110, x : x + 30] = 230
                planes = np.full((288, 320), 128, np.uint8)
                planes[:192] = np.clip(image, 0, 255)
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.pts, frame.time_base = i, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        # SVT-AV1, run as root, makes the thread that opens it real-time with the highest priority, and all processes
        # started from it later: one of them that spins would then stop every other process of the machine.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return tmp_path / name

    return written


class Watched:
    """A file as a camera, and what came of it."""

    def __init__(self, path: Path, max_latency_s: float = 4.0, burst: Burst | None = None) -> None:
        self.bursts: list[CapturedBurst] = []
        self.decoded: list[float] = []
        place = Place(lat=37.5, lon=127.0, name="Gate")
        camera = Camera(id="gate-1", url=SecretStr("clip"), place=place, burst=burst or Burst())
        self.recorder = BurstRecorder(camera, self.bursts.append)
        self.decoder: Decoder = watch_file(str(path), self.recorder, self._add, max_latency_s)

    def _add(self, picture: Picture) -> None:
        self.decoded.append(picture.at_s)
        self.recorder.add_picture(picture)

    def at_s(self, burst: CapturedBurst) -> float:
        return (burst.got_at - START_AT).total_seconds()

    def decoded_between(self, start_s: float, end_s: float) -> int:
        return sum(start_s <= at_s < end_s for at_s in self.decoded)


def test_a_quiet_camera_is_decoded_at_its_key_frames_only(write: Write) -> None:
    watched = Watched(write())
    assert watched.decoder.way == "key frames"
    assert watched.decoder.reason == "key frames come every 2.0 s"
    assert watched.decoded_between(SETTLING_S + 3, MOVES_S - 2.5) == 0, (
        "key frames at rest are looked at, not handed on"
    )
    assert watched.decoded_between(41, 43) == 0, "it rests again"
    assert len(set(watched.decoded)) == len(watched.decoded), "and nothing is decoded twice"


def test_burst_begins_with_the_motion_even_if_undecoded(write: Write) -> None:
    for gop in (10, 35):
        watched = Watched(write(f"gop-{gop}.mp4", gop=gop))
        moving = [burst for burst in watched.bursts if not burst.is_scene]
        assert MOVES_S <= watched.at_s(moving[0]) <= MOVES_S + 0.8, gop
        assert all(burst.moved is not None for burst in moving)


def test_b_frames_do_not_stand_in_the_way(write: Write) -> None:
    watched = Watched(write(extra={"bf": "2"}))
    assert watched.decoder.way == "key frames"
    assert MOVES_S <= watched.at_s(watched.bursts[0]) <= MOVES_S + 1


@pytest.mark.parametrize(
    ("stream", "way", "reason"),
    [
        ({"gop": 60}, "all", "key frames are 6.0 s apart, over max_latency_s of 4"),
        ({"gop": 1}, "some", "every frame is a key frame"),
        ({"codec": "mjpeg", "name": "clip.avi"}, "some", "every frame is a key frame"),
    ],
)
def test_a_stream_that_does_not_lend_itself_is_recognised(
    write: Write, stream: dict[str, object], way: str, reason: str
) -> None:
    path = write(**stream)
    watched = Watched(path)
    assert (watched.decoder.way, watched.decoder.reason[: len(reason)]) == (way, reason)
    frames = len(list(read_file(str(path))))
    assert len(watched.decoded) == frames if way == "all" else len(watched.decoded) < 0.8 * frames
    assert MOVES_S <= watched.at_s(watched.bursts[0]) <= MOVES_S + 0.8


@pytest.mark.parametrize(
    "stream",
    [
        {"codec": "libx265"},
        {"codec": "libsvtav1"},
        {"extra": {"nal-hrd": "cbr", "b": "600k", "minrate": "600k", "maxrate": "600k", "bufsize": "600k"}},
        {"every": 3, "name": "clip.mkv", "gop": 10},
    ],
    ids=["H.265", "AV1", "padded to a constant bit rate", "variable frame rate"],
)
def test_other_codecs_and_rates_rest_at_key_frames(write: Write, stream: dict[str, object]) -> None:
    watched = Watched(write(**stream))
    assert watched.decoder.way == "key frames"
    assert watched.decoded_between(SETTLING_S + 3.5, MOVES_S - 3.5) == 0, "quiet"
    moving = [burst for burst in watched.bursts if not burst.is_scene]
    assert MOVES_S <= watched.at_s(moving[0]) <= MOVES_S + 1


def test_no_latency_allowed_means_that_every_frame_is_decoded(write: Write) -> None:
    watched = Watched(write(seconds=20), max_latency_s=0.0)
    assert watched.decoder.way == "all"
    assert len(watched.decoded) == 200


def test_the_quiet_scene_is_shown_to_the_detector_now_and_then(write: Write) -> None:
    watched = Watched(write(seconds=33), burst=Burst(scene_interval_s=10))
    assert 2 <= len(watched.bursts) <= 4
    assert all(burst.is_scene and burst.moved is None and len(burst.frames) == 4 for burst in watched.bursts)
    never = Watched(write("moving.mp4"), burst=Burst(scene_interval_s=0))
    assert never.bursts
    assert not any(burst.is_scene for burst in never.bursts)
