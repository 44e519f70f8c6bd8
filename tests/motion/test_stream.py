from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from functions.event import utc_now
from motion import clock as clock_module
from motion import opening as opening_module
from motion import stream as stream_module
from motion.opening import StreamError
from motion.picture import Picture
from motion.reading import probe
from motion.stream import LIVE, Stream, backoff_s
from tests.motion.rtsp_camera import RtspCamera, Viewer, encoded


class Seen:
    """What a stream reported."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.pictures: list[tuple[float, Any, tuple[int, int]]] = []
        self.states: list[str] = []
        self._slow_s = slow_s

    def picture(self, picture: Picture) -> None:
        self.pictures.append((picture.at_s, picture.captured_at, picture.size))
        time.sleep(self._slow_s)


def until(claim: Callable[[], bool], within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)


class Streams:
    def __init__(self) -> None:
        self.started: list[Stream] = []

    def __call__(self, url: str, slow_s: float = 0.0, name: str = "cam") -> tuple[Stream, Seen]:
        seen = Seen(slow_s)
        stream = Stream(name, url, seen.picture, seen.states.append)
        self.started.append(stream)
        stream.start()
        return stream, seen


@pytest.fixture
def start() -> Iterator[Streams]:
    streams = Streams()
    yield streams
    for stream in streams.started:
        stream.stop()
    for stream in streams.started:
        stream.join(2)


def test_a_file_plays_at_its_own_speed_again_and_again(draw_clip: Any, start: Streams) -> None:
    _, seen = start(str(draw_clip(seconds=1.0, fps=10)))
    until(lambda: len(seen.pictures) >= 25)
    lasted_s = seen.pictures[24][0] - seen.pictures[0][0]
    assert 1.9 < lasted_s < 4
    assert seen.states == [LIVE]
    assert abs((utc_now() - seen.pictures[-1][1]).total_seconds()) < 5


def test_a_file_without_times_plays_at_its_own_speed(draw_clip: Any, start: Streams) -> None:
    stream, seen = start(str(draw_clip("raw.h264", seconds=2.0, fps=25)))
    until(lambda: len(seen.pictures) >= 26)
    stream.stop()
    assert seen.pictures[25][0] - seen.pictures[0][0] > 0.9


def test_a_slow_consumer_drops_frames_and_never_lags(draw_clip: Any, start: Streams) -> None:
    _, seen = start(str(draw_clip(seconds=6.0, fps=25)), slow_s=0.2)
    before = stream_module.FRAMES_DROPPED.labels("cam")._value.get()
    until(lambda: stream_module.FRAMES_DROPPED.labels("cam")._value.get() > before + 5, 15)
    assert seen.states == [LIVE]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{folder}/none.mp4", "no such file or device"),
        ("{folder}", "is a folder, not a video"),
        ("{folder}/text.mp4", "holds no video that can be read"),
        ("{folder}/sound.wav", "holds no video"),
        ("rtsp://user:hunter2@127.0.0.1:{closed}/x", "connection refused: is the camera on, and the port right?"),
    ],
)
def test_what_is_no_camera_is_told_in_one_line_without_its_url(tmp_path: Path, url: str, message: str) -> None:
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
    (tmp_path / "sound.wav").write_bytes(sound())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(StreamError) as caught:
        probe(url.format(folder=tmp_path, closed=port))
    assert str(caught.value) == message


def sound() -> bytes:
    import wave

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    return buffer.getvalue()


@pytest.mark.parametrize(("size", "message"), [((1, 1), "1x1: too small"), ((7680, 4320), "7680x4320: too big")])
def test_a_picture_of_a_useless_size_is_told_in_one_line(tmp_path: Path, size: tuple[int, int], message: str) -> None:
    path = tmp_path / "odd.png"
    cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))
    with pytest.raises(StreamError, match=message):
        probe(str(path))


def test_a_dead_camera_is_told_once_and_tried_again(
    tmp_path: Path, draw_clip: Any, start: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "_BACKOFF_CAP_S", 0.2)
    _, seen = start(str(tmp_path / "later.mp4"))
    until(lambda: stream_module.RECONNECTS.labels("cam")._value.get() >= 3)
    assert seen.states == ["lost: no such file or device"]
    draw_clip("drawn.mp4").rename(tmp_path / "later.mp4")
    until(lambda: seen.states[-1] == LIVE)
    assert stream_module.CAMERA_UP.labels("cam")._value.get() == 1


def test_changed_frame_size_reopens_the_camera(draw_clip: Any, start: Streams) -> None:
    small, large = draw_clip("a.h264", seconds=0.5), draw_clip("b.h264", seconds=0.5, size=(640, 384))
    mixed = small.with_name("mixed.h264")
    mixed.write_bytes(small.read_bytes() + large.read_bytes())
    _, seen = start(str(mixed))
    until(lambda: len(seen.states) >= 3)
    assert seen.states[:3] == [LIVE, "lost: the picture changed from 320x192 to 640x384", LIVE]


def test_backoff_doubles_with_jitter_up_to_a_cap() -> None:
    pauses = [[backoff_s(attempt) for _ in range(200)] for attempt in range(12)]
    assert all(0.25 <= pause <= 0.5 for pause in pauses[0])
    assert all(2 <= pause <= 4 for pause in pauses[3])
    assert all(15 <= pause <= 30 for pause in pauses[11])
    assert len({round(pause, 6) for pause in pauses[11]}) > 100


def test_no_way_to_fall_silent_goes_unnoticed_for_ten_seconds() -> None:
    limits_s = (
        opening_module.OPEN_TIMEOUT_S,
        opening_module.SILENCE_S,
        stream_module.HANG_S + 1,
        clock_module._SLOW_WINDOW_S,
    )
    assert max(limits_s) < 10


def test_silent_server_is_lost_and_does_not_delay_the_end(start: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening_module, "OPEN_TIMEOUT_S", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stream, seen = start(f"rtsp://user:hunter2@127.0.0.1:{silent.getsockname()[1]}/x")
        until(lambda: bool(seen.states), 10)
        assert seen.states == ["lost: no answer for 1.5 s"]
        stop_s = time.monotonic()
        stream.stop()
        assert time.monotonic() - stop_s < 0.5


def test_a_thread_that_hangs_is_replaced_and_not_heard_again(
    draw_clip: Any, start: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = str(draw_clip())
    hang, opened = threading.Event(), stream_module.opened
    calls: list[str] = []

    def hanging(url: str, hardware: str = "none") -> Any:
        calls.append(url)
        if len(calls) == 1:
            hang.wait(20)
        return opened(url, hardware)

    monkeypatch.setattr(stream_module, "opened", hanging)
    monkeypatch.setattr(stream_module, "HANG_S", 0.3)
    stream, seen = start(clip)
    time.sleep(0.4)
    stream.watch()
    until(lambda: LIVE in seen.states)
    assert seen.states == ["lost: nothing came for 0.3 s", LIVE]
    hang.set()
    time.sleep(0.3)
    assert seen.states == ["lost: nothing came for 0.3 s", LIVE]


def test_hung_threads_are_bounded(draw_clip: Any, start: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    hang, opened = threading.Event(), stream_module.opened

    def hanging(url: str, hardware: str = "none") -> Any:
        hang.wait(20)
        return opened(url, hardware)

    monkeypatch.setattr(stream_module, "opened", hanging)
    monkeypatch.setattr(stream_module, "HANG_S", 0.0)
    stream, seen = start(str(draw_clip()))
    for _ in range(50):
        stream.watch()
    assert readers(stream) <= 4
    assert len(seen.states) == 1
    monkeypatch.undo()
    hang.set()
    until(lambda: seen.states[-1] == LIVE)
    until(lambda: readers(stream) == 1)


def test_rtsp_camera_recovers_beside_a_live_neighbour(
    draw_clip: Any, rtsp_server: Any, start: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "_BACKOFF_CAP_S", 0.5)
    draw_clip("cam1.mp4", seconds=3.0)
    rtsp_server.start()
    _, seen = start(rtsp_server.url("cam1.mp4"), name="rtsp")
    _, neighbour = start(str(draw_clip("cam2.mp4")), name="neighbour")
    until(lambda: len(seen.pictures) >= 10)
    rtsp_server.kill()
    died_s = time.monotonic()
    until(lambda: seen.states[-1] != LIVE, 10)
    reported_s = time.monotonic()
    rtsp_server.start()
    read = len(seen.pictures)
    until(lambda: seen.states[-1] == LIVE and len(seen.pictures) > read + 5, 15)
    assert neighbour.states == [LIVE]
    gaps = np.diff([at_s for at_s, _, _ in neighbour.pictures if died_s - 1 < at_s < reported_s + 1])
    assert gaps.max() < 2


def test_a_frozen_stream_is_lost_and_live_again_after_it(
    draw_clip: Any, rtsp_server: Any, start: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening_module, "SILENCE_S", 2.0)
    draw_clip("cam1.mp4", seconds=3.0)
    rtsp_server.start()
    stream, seen = start(rtsp_server.url("cam1.mp4"))
    until(lambda: len(seen.pictures) >= 5)
    rtsp_server.freeze()
    froze_s = time.monotonic()
    while seen.states[-1] == LIVE:
        assert time.monotonic() - froze_s < 10, "it was not noticed"
        stream.watch()
        time.sleep(0.1)
    assert seen.states[-1].startswith("lost: no")
    rtsp_server.thaw()
    until(lambda: seen.states[-1] == LIVE, 10)


def camera_without_whole_pictures() -> RtspCamera:
    """Plays without end, and every picture needs the one before it."""
    frames = encoded(50, key_every=50)

    def play(viewer: Viewer) -> None:
        i = 0
        while not viewer.is_gone.wait(0.02):
            viewer.send(frames[1 + i % 49], i * 0.04)
            i += 1

    return RtspCamera(frames, play)


def readers(stream: Stream) -> int:
    return len(stream._readers())


def test_camera_without_keyframes_is_lost_and_closed(start: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_KEY_FRAME_S", 0.5)
    monkeypatch.setattr(stream_module, "_BACKOFF_CAP_S", 0.1)
    with camera_without_whole_pictures() as camera:
        stream, seen = start(camera.url)
        until(lambda: len(camera.viewers) >= 2)
        until(camera.viewers[0].is_gone.is_set)
        why = "is its key frame interval longer, or its codec another than it says?"
        assert seen.states == [f"lost: sends data, but no picture in 0.5 s: {why}"]
        assert readers(stream) == 1


def test_camera_without_keyframes_can_be_stopped(start: Streams) -> None:
    with camera_without_whole_pictures() as camera:
        stream, _ = start(camera.url)
        until(lambda: bool(camera.viewers))
        stream.stop()
        until(camera.viewers[0].is_gone.is_set)
        stream.join(5)
        assert readers(stream) == 0


class Codec:
    skip_frame = "DEFAULT"


class Shown:
    def __init__(self, pts_s: float) -> None:
        self.time = pts_s


def test_lagging_decoder_skips_to_keyframes() -> None:
    codec = Codec()
    clock = clock_module.LiveClock(codec)
    # Half as fast as the camera for 4 s, then key frames only, ten times as fast.
    due, at_s, pts_s, lags = [], 100.0, 0.0, []
    for _ in range(400):
        due.append(clock.is_due(Shown(pts_s), at_s))
        lags.append(at_s - 100 - pts_s)
        fast = codec.skip_frame == "NONKEY"
        pts_s += 0.5 if fast else 0.04
        at_s = max(at_s + (0.05 if fast else 0.08), 100 + pts_s)
    assert max(lags) < 2
    assert due.count(False) > 5
    assert codec.skip_frame == "DEFAULT" or not due[-1]


def shown(pts_s: Callable[[int], float], at_s: Callable[[int], float], *, key_every: int) -> list[bool]:
    """What becomes of each frame of a camera that we can follow, by the times of its clock and at which it comes."""
    codec = Codec()
    clock = clock_module.LiveClock(codec)
    return [
        (codec.skip_frame == "DEFAULT" or i % key_every == 0) and clock.is_due(Shown(pts_s(i)), 100 + at_s(i))
        for i in range(2500)
    ]


def test_network_pause_skips_only_stale_frames() -> None:
    # Frames from 500 on come in a bunch when the pause of 1.5 s is over; the next whole picture is 10 s away.
    due = shown(lambda i: i * 0.04, lambda i: max(i * 0.04, 19 + i * 0.005 if i >= 500 else 0.0), key_every=750)
    assert all(due[:500])
    assert all(due[550:])


def test_a_camera_whose_clock_is_slow_is_left_out_less_and_less() -> None:
    # As of one that stamps 25 frames a second and sends 20 in the dark.
    due = shown(lambda i: i * 0.04, lambda i: i * 0.05, key_every=40)
    assert sum(due) > 0.8 * len(due)
    assert sum(due[1250:]) > sum(due[:1250])


def test_events_during_a_suspend_are_delivered() -> None:
    codec = Codec()
    clock = clock_module.LiveClock(codec)
    stopped_s = 4.5
    at_s = pts_s = 0.0
    due: list[tuple[bool, float]] = []
    for i in range(2000):
        if i == 500:
            at_s += stopped_s
        if codec.skip_frame == "NONKEY" and i % 63:
            at_s += 0.001
        else:
            due.append((clock.is_due(Shown(pts_s), 100 + at_s), at_s - pts_s))
            at_s += 0.03
        pts_s += 0.04
        at_s = max(at_s, pts_s)
    assert due[-1][0]
    assert max(lag_s for is_due, lag_s in due if is_due) < 1


def test_a_jump_of_a_cameras_own_clock_drops_nothing() -> None:
    clock = clock_module.LiveClock(Codec())
    frames = [(i * 0.04, i * 0.04) for i in range(50)] + [(2 + i * 0.04, i * 0.04 - 900) for i in range(50)]
    assert all(clock.is_due(Shown(pts_s), 100 + at_s) for at_s, pts_s in frames)


def test_a_stream_too_slow_for_a_burst_is_told() -> None:
    clock = clock_module.LiveClock(Codec())
    with pytest.raises(StreamError, match="only 3 frames in 8 s: set it to 2 or more a second"):
        for i in range(10):
            clock.packet_came(100 + i * 3.0, 3.0)


def test_luma_is_subsampled_to_about_320_wide() -> None:
    for width, height in ((1280, 720), (1920, 1080), (640, 360), (320, 180), (416, 416), (3840, 2160)):
        image = np.zeros((height, width, 3), np.uint8)
        image[:, width // 2 :] = 255
        for form in ("yuv420p", "nv12", "rgb24"):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=form)
            luma = Picture(frame, utc_now(), 0.0).luma()
            assert 0.6 < luma.size / (320 * 180) < 1.8
            assert luma.shape[1] / luma.shape[0] == pytest.approx(width / height, rel=0.02)
            assert luma[:, : luma.shape[1] // 2 - 2].max() < 30
            assert luma[:, luma.shape[1] // 2 + 2 :].min() > 200


def test_jpeg_has_the_asked_width_and_is_never_enlarged() -> None:
    frame = av.VideoFrame.from_ndarray(np.full((720, 1280, 3), 90, np.uint8), format="bgr24")
    picture = Picture(frame, utc_now(), 0.0)
    for width, meant in ((640, (360, 640, 3)), (1920, (720, 1280, 3))):
        image = cv2.imdecode(np.frombuffer(picture.jpeg(width, 80), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == meant
        assert abs(int(image.mean()) - 90) < 3
