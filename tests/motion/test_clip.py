"""Clips are copied from a camera's packets: they begin before the burst, play, and keep their limits."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from motion.clip import Clip, ClipLimits, ClipRecorder
from motion.decoding import Arrival

Draw = Callable[..., Path]
START = datetime(2026, 3, 2, 5, 3, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Camera:
    """Plays a file into a recorder: each packet arrives at its own time in the file."""

    def __init__(self, limits: ClipLimits) -> None:
        self.clips: list[Clip] = []
        self.recorder = ClipRecorder("gate-1", limits, 1.0, self.clips.append)

    @contextmanager
    def plays(self, path: Path, before: Callable[[Any], None] = lambda packet: None) -> Iterator[Iterator[float]]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            self.recorder.connect(stream)
            yield self._packets(container, stream, before)
            self.recorder.disconnect(stream)

    def _packets(self, container: Any, stream: Any, before: Callable[[Any], None]) -> Iterator[float]:
        for packet in container.demux(stream):
            if packet.size:
                at_s = float(packet.pts * packet.time_base)
                before(packet)
                self.recorder.add(stream, Arrival(packet, at(at_s), at_s))
                yield at_s


def record(
    path: Path, limits: ClipLimits, bursts: tuple[float, ...], before: Callable[[Any], None] = lambda p: None
) -> list[Clip]:
    """The clips of a camera whose bursts of a second end at these times."""
    camera, left = Camera(limits), list(bursts)
    with camera.plays(path, before) as packets:
        for at_s in packets:
            if left and at_s >= left[0]:
                ended_s = left.pop(0)
                camera.recorder.trigger(at(ended_s - 1), at(ended_s))
    return camera.clips


def frames(clip: Clip) -> list[float]:
    """Times of all frames of a clip, which is decoded from its start to its end."""
    with av.open(io.BytesIO(clip.mp4)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


@pytest.fixture
def street(draw_clip: Draw) -> Path:
    """20 s, 10 frames and one key frame a second."""
    return draw_clip(seconds=20, size=(160, 96))


def test_clip_shows_the_seconds_before_and_after_a_burst(street: Path) -> None:
    (clip,) = record(street, ClipLimits(before_s=3, after_s=2), (10.0,))
    assert (clip.name.start, clip.name.end) == (at(6), at(12))
    times = frames(clip)
    assert len(times) == 61 and times[0] == 0 and times[-1] == pytest.approx(6.0)


def test_bursts_one_after_the_other_are_one_clip(street: Path) -> None:
    (clip,) = record(street, ClipLimits(before_s=1, after_s=2), (5.0, 6.5, 8.0))
    assert (clip.name.start, clip.name.end) == (at(3), at(10))


def test_packets_are_copied_and_not_encoded_again(street: Path) -> None:
    (clip,) = record(street, ClipLimits(before_s=100, after_s=100), (4.0,))
    with av.open(str(street)) as one, av.open(io.BytesIO(clip.mp4)) as other:
        original = [bytes(packet) for packet in one.demux(video=0)]
        assert [bytes(packet) for packet in other.demux(video=0)] == original


def test_packets_that_come_twice_are_copied_once(street: Path) -> None:
    camera = Camera(ClipLimits(before_s=100, after_s=100))
    with av.open(str(street)) as container:
        stream = container.streams.video[0]
        camera.recorder.connect(stream)
        camera.recorder.trigger(at(0), at(1))
        for packet in (p for p in container.demux(stream) if p.size):
            at_s = float(packet.pts * packet.time_base)
            for _ in range(1 + (round(at_s * 10) % 7 == 0)):
                camera.recorder.add(stream, Arrival(packet, at(at_s), at_s))
        camera.recorder.disconnect(stream)
    times = frames(camera.clips[0])
    assert len(times) == 200 and times[-1] == pytest.approx(19.9)


def test_long_motion_is_cut_into_several_clips(street: Path) -> None:
    clips = record(street, ClipLimits(before_s=1, after_s=1.5, longest_s=5), tuple(float(s) for s in range(2, 20)))
    assert len(clips) == 4
    assert all(clip.name.end - clip.name.start <= timedelta(seconds=5.1) for clip in clips)
    # Nothing is missing between two.
    for one, other in pairwise(clips):
        assert timedelta(0) <= one.name.end - other.name.start < timedelta(seconds=1)


def test_large_clip_ends_at_its_size(street: Path) -> None:
    size = street.stat().st_size
    clips = record(street, ClipLimits(before_s=1, after_s=60, max_bytes=size // 4), (3.0,))
    assert len(clips) == 1 and len(clips[0].mp4) < size // 2


def test_memory_before_a_burst_is_bounded(street: Path) -> None:
    limits = ClipLimits(before_s=1000, after_s=1, max_bytes=street.stat().st_size // 2)
    camera = Camera(limits)
    with camera.plays(street) as packets:
        for _ in packets:
            kept = sum(one.packet.size for one in camera.recorder._kept)
            assert kept == camera.recorder._kept_bytes <= limits.max_bytes // 2
    camera = Camera(ClipLimits(max_bytes=10))
    with camera.plays(street) as packets:
        assert all(not camera.recorder._kept for _ in packets)


def test_lost_camera_leaves_the_clip_so_far(street: Path) -> None:
    camera = Camera(ClipLimits(before_s=1, after_s=30))
    with camera.plays(street) as packets:
        for at_s in packets:
            if at_s == 5:
                camera.recorder.trigger(at(4), at(5))
            if at_s == 7:
                break
    assert camera.clips[0].name.end == at(7)
    # The next connection begins without the packets of the last.
    with camera.plays(street) as packets:
        next(packets)
        camera.recorder.trigger(at(4), at(5))
        for _ in range(5):
            next(packets)
    assert len(frames(camera.clips[1])) == 6


def test_clock_that_jumps_leaves_a_clip_that_plays(street: Path) -> None:
    def jump(packet: Any) -> None:
        # A day forwards, back to 0, and without times.
        number = round(float(packet.pts * packet.time_base) * 10)
        shift = {0: 0, 1: 86_400, 2: -6}.get(number // 80, 0)
        ticks = round(shift / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, None if number % 7 == 0 else packet.dts + ticks

    camera = Camera(ClipLimits(before_s=100, after_s=100))
    with av.open(str(street)) as container:
        stream = container.streams.video[0]
        camera.recorder.connect(stream)
        for number, packet in enumerate(p for p in container.demux(stream) if p.size):
            jump(packet)
            camera.recorder.add(stream, Arrival(packet, at(number / 10), number / 10))
            if number == 5:
                camera.recorder.trigger(at(0), at(1))
        camera.recorder.disconnect(stream)
    times = frames(camera.clips[0])
    assert len(times) == 200 and times == sorted(times) and times[-1] < 25


def test_stream_that_browsers_cannot_play_gives_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "camera.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        for _ in range(30):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuvj420p")))
        container.mux(stream.encode())
    assert record(path, ClipLimits(), (1.0,)) == []


def test_h265_is_stored_as_safari_plays_it(tmp_path: Path) -> None:
    path = tmp_path / "camera.mp4"
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10"}
        stream = container.add_stream("libx265", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(40):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode())
    (clip,) = record(path, ClipLimits(before_s=1, after_s=1), (2.5,))
    with av.open(io.BytesIO(clip.mp4)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.codec_tag) == ("hevc", "hvc1")
        assert sum(1 for _ in container.decode(video=0)) >= 20


def test_reordered_frames_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "reordered.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "2", "g": "10", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(60):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.planes[0].update(bytes([number * 4]) * frame.planes[0].buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (clip,) = record(path, ClipLimits(before_s=1, after_s=1), (4.0,))
    with av.open(io.BytesIO(clip.mp4)) as container:
        levels = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    assert levels == sorted(levels) and len(levels) >= 28
