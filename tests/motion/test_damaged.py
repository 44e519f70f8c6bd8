"""Damaged streams over RTSP, each beside a good camera: no crash, bounded memory, the right state and metric."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from motion import stream as stream_module
from motion.camera import Burst, Camera, Place
from motion.decoding import Arrival, Decoder
from motion.stream import LIVE
from motion.streams import CameraStreams
from tests.motion.rtsp_camera import RtspCamera, Units, Viewer, encoded

GOP = 10
FRAMES = encoded(40, key_every=GOP)
SMALL = encoded(40, key_every=GOP, size=(256, 128))
Play = Callable[[Viewer], None]


def until(claim: Callable[[], bool], within_s: float = 20.0) -> None:
    end_s = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)


def frames_of(count: int, changed: Callable[[int], tuple[Units, float]]) -> Play:
    """Plays frames at 100 a second with the units and the time that `changed` gives; then plays on as usual."""

    def play(viewer: Viewer) -> None:
        i = 0
        while not viewer.is_gone.wait(0.01):
            units, at_s = changed(i) if i < count else (FRAMES[i % 40], i * 0.04)
            viewer.send(units, at_s)
            i += 1

    return play


def lossy(rng: random.Random) -> Play:
    def changed(i: int) -> tuple[Units, float]:
        return [unit for unit in FRAMES[i % 40] if rng.random() > 0.3], i * 0.04

    return frames_of(200, changed)


def broken(rng: random.Random) -> Play:
    """Some bytes of each slice are wrong."""

    def spoiled(unit: bytes) -> bytes:
        data = bytearray(unit)
        if data[0] & 0x1F in (1, 5):
            for _ in range(5):
                data[rng.randrange(1, len(data))] = rng.randrange(256)
        return bytes(data)

    return frames_of(200, lambda i: ([spoiled(unit) for unit in FRAMES[i % 40]], i * 0.04))


def reordered(rng: random.Random) -> Play:
    return frames_of(200, lambda i: (FRAMES[(i ^ 1) % 40], (i ^ 1) * 0.04))


def jumping(rng: random.Random) -> Play:
    return frames_of(200, lambda i: (FRAMES[i % 40], i * 0.04 + (i // 20 % 3 - 1) * 5000))


def repeating(rng: random.Random) -> Play:
    return frames_of(200, lambda i: (FRAMES[i % 40], i // 25 * 1.0))


DAMAGES = {
    "packets lost": lossy, "wrong bytes": broken, "reordered": reordered, "times jump": jumping,
    "times repeat": repeating,
}  # fmt: skip


class Watched:
    """A camera, as a worker reads it."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.states: list[str] = []
        place = Place(lat=37.5, lon=127.0, name=name)
        camera = Camera(id=name, url=url, place=place, burst=Burst(scene_interval_s=0))  # type: ignore[arg-type]
        self.streams = CameraStreams(camera, lambda burst: None, self.states.append)
        self.streams.start()

    def is_up_to_date(self, since_s: float) -> bool:
        """Whether it is live, and something was read later than this."""
        return self.streams.is_live and (self.streams.last_frame_at_s or 0.0) > since_s


@pytest.fixture
def watch() -> Iterator[Callable[[str, str], Watched]]:
    opened: list[Watched] = []

    def start(name: str, url: str) -> Watched:
        opened.append(Watched(name, url))
        return opened[-1]

    yield start
    for each in opened:
        each.streams.stop()
    for thread in threading.enumerate():
        if isinstance(thread, stream_module._Reader):
            thread.join(0.3)


def test_damaged_streams_are_read_on_beside_good_one(watch: Callable[[str, str], Watched]) -> None:
    good = RtspCamera(FRAMES, frames_of(0, lambda i: (FRAMES[0], 0.0)))
    bad = {name: RtspCamera(FRAMES, make(random.Random(3))) for name, make in DAMAGES.items()}
    with good:
        neighbour = watch("good", good.url)
        for camera in bad.values():
            camera.__enter__()
        try:
            damaged = [watch(name.replace(" ", "-"), camera.url) for name, camera in bad.items()]
            until(lambda: all(each.streams.is_live for each in damaged))
            healed_at_s = time.monotonic() + 3
            until(lambda: all(each.is_up_to_date(healed_at_s) for each in [*damaged, neighbour]), 40)
            assert neighbour.states == [LIVE]
        finally:
            for camera in bad.values():
                camera.__exit__(None, None, None)


def test_changed_resolution_in_mid_stream_is_reopened(watch: Callable[[str, str], Watched]) -> None:
    def changed(i: int) -> tuple[Units, float]:
        return (FRAMES if i < 50 else SMALL)[i % 40], i * 0.04

    with RtspCamera(FRAMES, frames_of(10_000, changed)) as camera:
        seen = watch("resized", camera.url)
        until(lambda: any("from 320x192 to 256x128" in state for state in seen.states))
        until(lambda: seen.streams.is_live)


def test_packets_without_a_key_frame_are_not_kept_for_ever() -> None:
    """As of a 4K camera at 60 frames a second, joined just after a key frame."""

    class Packet:
        is_keyframe, size = False, 3_000_000

    class Never:
        def decode(self, packet: object) -> list[object]:
            return []

        def flush_buffers(self) -> None: ...

    class Quiet:
        def suspects(self, picture: object) -> bool:
            return False

        def wants(self, at_s: float) -> bool:
            return False

        def may_rest(self, at_s: float) -> bool:
            return True

    decoder = Decoder(Never(), "", Quiet(), 1e9)
    for i in range(100):
        list(decoder.feed(Arrival(Packet(), datetime.now(UTC), i / 60)))
        assert decoder._kept_bytes <= 24e6 + Packet.size
    assert decoder.way == "all"
