"""Streams and files as they come: each of these was once read wrongly, or lost without a useful word."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from functions.event import utc_now
from motion.clock import FileClock
from motion.config import ConfigError, load_cameras
from motion.frozen import FrozenPicture
from motion.opening import StreamError, opened
from motion.picture import Picture
from motion.reading import probe
from motion.stream import LIVE, Stream
from tests.motion.rtsp_camera import RtspCamera, Viewer, encoded


def until(claim: Callable[[], bool], within_s: float = 20.0) -> None:
    end_s = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)


class Seen:
    """A stream and what came of it."""

    def __init__(self, url: str) -> None:
        self.pictures: list[Picture] = []
        self.states: list[str] = []
        self.stream = Stream("cam", url, self.pictures.append, self.states.append)
        self.stream.start()


@pytest.fixture
def see() -> Iterator[Callable[[str], Seen]]:
    opened: list[Seen] = []

    def start(url: str) -> Seen:
        opened.append(Seen(url))
        return opened[-1]

    yield start
    for seen in opened:
        seen.stream.stop()
        seen.stream.join(2)


def player(frames: list[list[bytes]], first: int = 0) -> Callable[[Viewer], None]:
    """Plays the frames in a loop, from this one on, 50 of them a second with times of 25."""

    def play(viewer: Viewer) -> None:
        i = first
        while not viewer.is_gone.wait(0.02):
            viewer.send(frames[i % len(frames)], i * 0.02)
            i += 1

    return play


def test_camera_without_parameter_sets_is_waited_for(see: Callable[[str], Seen]) -> None:
    frames = encoded(180, key_every=180)
    with RtspCamera(frames, player(frames, first=20), has_sets=False) as camera:
        seen = see(camera.url)
        until(lambda: bool(seen.pictures))
        assert seen.states == [LIVE]


def test_a_camera_that_sends_by_udp_alone_is_read_by_udp(see: Callable[[str], Seen]) -> None:
    frames = encoded(25, key_every=5)
    with RtspCamera(frames, player(frames), takes_tcp=False) as camera:
        seen = see(camera.url)
        until(lambda: len(seen.pictures) > 5)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("453 Not Enough Bandwidth", "the camera answered 453 Not Enough Bandwidth: too many viewers"),
        ("503 Service Unavailable", "the camera answered 503 Service Unavailable: too many viewers, or it is starting"),
        ("401 Unauthorized", "user name or password refused"),
        ("404 Not Found", "the camera has no such stream"),
    ],
)
def test_the_status_of_a_refusal_is_named_with_its_usual_cause(status: str, says: str) -> None:
    with RtspCamera(encoded(1, 1), lambda viewer: None, status=status) as camera, pytest.raises(StreamError) as caught:
        probe(camera.url)
    assert str(caught.value).startswith(says)


def test_a_host_that_does_not_resolve_is_named_as_such() -> None:
    with pytest.raises(StreamError, match="no such host: check the name in its url") as caught:
        probe("rtsp://user:hunter2@camera.invalid/live")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("password", "written"), [("a/b", "%2F"), ("a#b", "%23"), ("a?b", "%3F")])
def test_a_raw_character_in_a_password_is_named(tmp_path: Path, password: str, written: str) -> None:
    path = tmp_path / "cameras.yaml"
    place = "place: {lat: 37.5, lon: 127.0, name: Gate}"
    path.write_text(f"cameras:\n  - {{id: a, url: 'rtsp://user:{password}@192.0.2.1/live', {place}}}\n")
    with pytest.raises(ConfigError, match=f"must be written {written}") as caught:
        load_cameras(path)
    assert password not in str(caught.value)


def test_an_at_sign_in_the_path_is_no_password(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    place = "place: {lat: 37.5, lon: 127.0, name: Gate}"
    path.write_text(f"cameras:\n  - {{id: a, url: 'rtsp://192.0.2.1:554/live@1', {place}}}\n")
    assert load_cameras(path).cameras[0].id == "a"


def write(path: Path, times: list[int], rotation: int = 0) -> Path:
    """A clip at ten frames a second of which each frame has this time, bright at the top."""
    image = np.full((192, 320, 3), 60, np.uint8)
    image[:40] = 240
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0", "g": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for time_ in times:
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = time_, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_clip_of_a_telephone_held_upright_is_turned(tmp_path: Path) -> None:
    picture = probe(str(write(tmp_path / "turned.mp4", list(range(5)), rotation=90))).picture
    assert picture.size == (192, 320)
    luma = picture.luma()
    assert luma.shape[0] > luma.shape[1]
    image = cv2.imdecode(np.frombuffer(picture.jpeg(1280, 80), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (320, 192, 3)
    assert image[:, :30].mean() > 200 > image[:, -100:].mean(), "a quarter turn anticlockwise: the top is on the left"


def test_recording_with_a_time_gap_keeps_its_speed(tmp_path: Path, see: Callable[[str], Seen]) -> None:
    seen = see(str(write(tmp_path / "gap.mkv", [*range(10), *range(6000, 6015)])))
    until(lambda: len(seen.pictures) >= 25)
    assert seen.pictures[24].at_s - seen.pictures[0].at_s < 6


def times_of(clock: FileClock, times: list[float]) -> tuple[float, list[bool]]:
    began_s, now_s, due = 0.0, 0.0, []
    for time_s in times:
        clock_began = time.monotonic()
        due.append(clock.wait_for(time_s, now_s))
        now_s += time.monotonic() - clock_began
    return now_s - began_s, due


def test_times_that_go_back_lose_no_frame() -> None:
    clock = FileClock(threading.Event(), fps=100)
    lasted_s, due = times_of(clock, [60 + i / 100 for i in range(30)] + [i / 100 for i in range(30)])
    assert all(due)
    assert 0.4 < lasted_s < 5


def test_a_cover_picture_before_the_video_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "covered.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"bf": "0"})
        cover = container.add_stream("mjpeg", rate=1)
        video.width = cover.width = 320
        video.height = cover.height = 192
        video.pix_fmt, cover.pix_fmt = "yuv420p", "yuvj420p"
        cover.disposition = Disposition.attached_pic
        image = np.full((192, 320, 3), 90, np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(cover.encode())
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(video.encode())
    path.write_bytes(cover_first(path.read_bytes()))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg", "or this shows nothing"
    assert probe(str(path)).codec == "h264"


@pytest.mark.parametrize("device", ["cuda", "vaapi", "qsv"])
def test_without_a_device_it_is_decoded_in_software(tmp_path: Path, device: str) -> None:
    """Where there is such a device the pictures are the same."""
    with opened(str(write(tmp_path / "clip.mp4", [*range(10)])), device) as (container, stream):
        pictures = [Picture(frame, utc_now(), 0.0).luma() for frame in container.decode(stream)]
    assert len(pictures) == 10
    assert pictures[5][:30].mean() > 200 > pictures[5][60:].mean()


def cover_first(data: bytes) -> bytes:
    """The same MP4 with the user data (the cover) before the tracks, as some cameras write it."""

    def boxes(start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        while start < end:
            size, kind = struct.unpack(">I4s", data[start : start + 8])
            yield kind, start, start + size
            start += size

    movie = next((start, end) for kind, start, end in boxes(0, len(data)) if kind == b"moov")
    inner = sorted(boxes(movie[0] + 8, movie[1]), key=lambda box: {b"mvhd": 0, b"udta": 1}.get(box[0], 2))
    return data[: movie[0] + 8] + b"".join(data[start:end] for _, start, end in inner) + data[movie[1] :]


def looks(noise: float, clock: bool, seconds: int = 200) -> Iterator[tuple[Any, float]]:
    rng = np.random.default_rng(1)
    scene = rng.integers(40, 200, (180, 320)).astype(np.float64)
    for i in range(seconds):
        shown = scene + rng.normal(0, noise, scene.shape) if noise else scene.copy()
        if clock:
            shown[4:12, 4:10] = 255 * (i % 2)
        yield np.clip(shown, 0, 255).astype(np.uint8), float(i)


def test_frozen_picture_is_told_from_a_quiet_scene() -> None:
    for noise, clock, is_frozen in ((0.0, False, True), (0.0, True, True), (1.0, False, False)):
        watch = FrozenPicture(after_s=120)
        found = [watch.update(luma, at_s) for luma, at_s in looks(noise, clock)]
        assert not any(found[:119])
        assert found[-1] is is_frozen
    assert not any(FrozenPicture(after_s=0).update(luma, at_s) for luma, at_s in looks(0.0, False))
