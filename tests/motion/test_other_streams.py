"""Streams of other codecs, clocks and tracks over RTSP: motion is seen from rest, and no state but live is reported."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
from pydantic import SecretStr

from motion import burst as burst_module
from motion import opening
from motion import stream as stream_module
from motion.burst import CapturedBurst
from motion.camera import Burst, Camera, Place
from motion.decoding import FRAMES_SPARED, Decoder
from motion.stream import LIVE
from motion.streams import CameraStreams
from tests.motion.rtp_track import FPS, Track, track
from tests.motion.rtsp_camera import RtspCamera, Viewer

GOP = 10
QUIET, MOVING = track(key_every=GOP), track(key_every=GOP, moves=range(GOP, 4 * GOP))
SOUND_AND_DATA = (
    "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:sound\r\n"
    "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:data\r\n"
)
LIES = "a=framerate:1000\r\na=framesize:96 4000-3000\r\na=range:npt=0-3\r\n"
Stamp = Callable[[float], float]


@dataclass(frozen=True)
class Scene:
    """A quiet street, then motion, again and again."""

    quiet: Track = QUIET
    moving: Track = MOVING
    stamp: Stamp = lambda at_s: at_s
    sdp: str = ""
    """Instead of the track's own."""

    def play(self, viewer: Viewer) -> None:
        began_s, begins_at_s = time.monotonic(), 0.0
        for each in itertools.cycle([self.quiet, self.quiet, self.moving, self.quiet]):
            for number, frame in enumerate(each.frames):
                if viewer.is_gone.wait(max(0.0, began_s + begins_at_s + number / FPS - time.monotonic())):
                    return
                viewer.send_payloads(frame.payloads, self.stamp(begins_at_s + frame.at_s))
            begins_at_s += len(each.frames) / FPS


def pair(codec: str = "libx264", options: Mapping[str, str] = MappingProxyType({})) -> tuple[Track, Track]:
    moves = range(GOP, 4 * GOP)
    return track(codec, key_every=GOP, options=options), track(codec, key_every=GOP, moves=moves, options=options)


OPEN_GOP = {"bf": "2", "x264-params": f"open-gop=1:keyint={GOP}:min-keyint={GOP}:scenecut=0"}
SCENES: dict[str, Callable[[], Scene]] = {
    "b-frames": lambda: Scene(*pair(options={"bf": "2"})),
    "open-gop": lambda: Scene(*pair(options=OPEN_GOP)),
    "h265": lambda: Scene(*pair("libx265")),
    "mjpeg": lambda: Scene(*pair("mjpeg")),
    "half-speed": lambda: Scene(stamp=lambda at_s: at_s / 2),
    "clock-stands-still": lambda: Scene(stamp=lambda at_s: 5.0),
    "clock-goes-back": lambda: Scene(stamp=lambda at_s: 1000 - at_s),
    "clock-jumps": lambda: Scene(stamp=lambda at_s: at_s + 7000 * (int(at_s) % 3)),
    "sound-and-data": lambda: Scene(sdp=SOUND_AND_DATA + QUIET.sdp),
    "wrong-description": lambda: Scene(sdp=QUIET.sdp + LIES),
}


class Watched:
    """A camera, as a worker reads it."""

    def __init__(self, name: str, url: str, max_latency_s: float = 4.0) -> None:
        self.name = name
        self.states: list[str] = []
        self.bursts: list[CapturedBurst] = []
        burst = Burst(frames=2, spacing_s=0.1, scene_interval_s=0)
        place = Place(lat=37.5, lon=127.0, name=name)
        camera = Camera(id=name, url=SecretStr(url), place=place, burst=burst, max_latency_s=max_latency_s)
        self.has_seen_from_rest = False
        self.streams = CameraStreams(camera, self._take, self.states.append)
        self.streams.start()

    def _take(self, burst: CapturedBurst) -> None:
        self.bursts.append(burst)
        self.has_seen_from_rest |= spared(self.name) > 0

    @property
    def age_s(self) -> float:
        return time.monotonic() - (self.streams.last_frame_at_s or 0.0)


Watch = Callable[..., Watched]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(burst_module, "SETTLING_S", 0.5)
    monkeypatch.setattr(burst_module, "REST_S", 0.3)
    opened: list[Watched] = []

    def start(name: str, camera: RtspCamera, max_latency_s: float = 4.0) -> Watched:
        opened.append(Watched(name, camera.url, max_latency_s))
        return opened[-1]

    yield start
    for each in opened:
        each.streams.stop()
    for each in opened:
        each.streams.join(7)


def until(claim: Callable[[], bool], *watched: Watched, within_s: float = 90.0) -> None:
    end_s = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < end_s, [(each.name, each.states, len(each.bursts)) for each in watched]
        for each in watched:
            each.streams.watch()
        time.sleep(0.02)


def spared(name: str) -> float:
    return float(FRAMES_SPARED.labels(name)._value.get())


def test_motion_is_seen_from_rest_in_each_kind_of_stream(watch: Watch) -> None:
    with ExitStack() as stack:
        seen = []
        for name, make in SCENES.items():
            scene = make()
            camera = RtspCamera([], scene.play, sdp=scene.sdp or scene.quiet.sdp)
            seen.append(watch(name, stack.enter_context(camera)))
        until(lambda: all(each.has_seen_from_rest for each in seen), *seen)
        assert {each.name: each.states for each in seen} == {name: [LIVE] for name in SCENES}
        until(lambda: max(each.age_s for each in seen) < 1, *seen)


def changing(tracks: list[Track], camera: list[RtspCamera]) -> Callable[[Viewer], None]:
    """Plays to each viewer the track that was described, and once it is at rest the other one, without a word."""
    viewers = itertools.count()

    def play(viewer: Viewer) -> None:
        first = next(viewers)
        before, turn = spared("changes"), first
        for number in itertools.count():
            if turn == first and spared("changes") > before + 20:
                turn += 1
                camera[0].sdp = camera[0].session(tracks[turn % 2].sdp)
            now = tracks[turn % 2]
            viewer.send_payloads(now.frames[number % len(now.frames)].payloads, number / FPS)
            if viewer.is_gone.wait(0.01):
                return

    return play


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("other", "reasons"),
    [
        (
            lambda: track("libx265", 2 * GOP, key_every=GOP),
            ("100 packets in a row cannot be decoded: has its codec changed?", "nothing came for 2.5 s"),
        ),
        (
            lambda: track(count=2 * GOP, size=(480, 288), key_every=GOP),
            ("the picture changed from 320x192 to 480x288", "the picture changed from 480x288 to 320x192"),
        ),
    ],
    ids=["codec", "size"],
)
def test_stream_that_changes_there_and_back_is_reopened(
    watch: Watch, other: Callable[[], Track], reasons: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "_BACKOFF_CAP_S", 0.2)
    monkeypatch.setattr(stream_module, "HANG_S", 2.5)
    before = open_files()
    camera: list[RtspCamera] = []
    camera.append(RtspCamera([], changing([QUIET, other()], camera), sdp=QUIET.sdp))
    with camera[0]:
        seen = watch("changes", camera[0], max_latency_s=0.5)
        until(lambda: len(seen.states) >= 5, seen)
        assert seen.states[:5:2] == [LIVE] * 3, seen.states
        assert all(state.startswith(f"lost: {why}") for state, why in zip(seen.states[1::2], reasons, strict=False))
        seen.streams.stop()
        seen.streams.join(7)
    until(lambda: open_files() <= before)
    assert not [t for t in threading.enumerate() if t.name == "camera-changes"]


@pytest.mark.parametrize(
    ("sent", "described", "reason"),
    [
        (QUIET, QUIET.sdp.replace("96", "97"), "nothing came for 0.6 s"),
        (track("libx265", 2 * GOP, key_every=GOP), QUIET.sdp, "sends data, but no picture in 0.7 s"),
    ],
    ids=["payload type", "codec"],
)
def test_a_wrong_description_is_reported_in_one_line(
    watch: Watch, sent: Track, described: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, value in (
        (opening, "SILENCE_S", 0.6), (opening, "OPEN_TIMEOUT_S", 0.6), (stream_module, "_KEY_FRAME_S", 0.7),
        (stream_module, "_BACKOFF_CAP_S", 0.1), (stream_module, "HANG_S", 3.0),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    with RtspCamera([], Scene(sent, sent).play, sdp=described) as camera:
        seen = watch("lies", camera)
        until(lambda: len(camera.viewers) >= 3, seen)
        assert len(seen.states) == 1, "tried again and again, reported once"
        assert seen.states[0].startswith(f"lost: {reason}")
        assert len([t for t in threading.enumerate() if t.name == "camera-lies"]) == 1


def test_one_packet_a_minute_is_lost_in_between(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "SILENCE_S", 0.5)
    monkeypatch.setattr(stream_module, "_BACKOFF_CAP_S", 0.1)

    def play(viewer: Viewer) -> None:
        for frame in QUIET.frames[: 2 * GOP]:
            viewer.send_payloads(frame.payloads, frame.at_s)
        for number, frame in enumerate(QUIET.frames[2 * GOP :]):
            if viewer.is_gone.wait(3.0):
                return
            viewer.send_payloads(frame.payloads, 60.0 * number)

    with RtspCamera([], play, sdp=QUIET.sdp) as camera:
        seen = watch("slow", camera)
        until(lambda: len(seen.states) >= 4, seen)
        assert seen.states[:4] == [LIVE, "lost: nothing came for 0.5 s"] * 2
        assert len([t for t in threading.enumerate() if t.name == "camera-slow"]) == 1


def test_key_frames_rarer_than_the_patience_are_met(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a key frame every 30 s, joined just after one: at the second try the rest of the wait is shorter."""
    monkeypatch.setattr(stream_module, "_KEY_FRAME_S", 1.0)
    monkeypatch.setattr(stream_module, "_BACKOFF_CAP_S", 0.1)
    rare = track(count=45, key_every=45)
    sent = itertools.count(1)

    def play(viewer: Viewer) -> None:
        for number in sent:
            viewer.send_payloads(rare.frames[number % 45].payloads, number / FPS)
            if viewer.is_gone.wait(1 / FPS):
                return

    with RtspCamera([], play, sdp=rare.sdp) as camera:
        seen = watch("rare", camera, max_latency_s=1.0)
        until(lambda: LIVE in seen.states, seen)
        until(lambda: seen.age_s < 0.5, seen)
        assert len(seen.states) <= 2


def test_a_4k_camera_at_60_frames_a_second_stays_live(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    keep = Decoder._keep

    def noted(decoder: Decoder, arrival: object) -> None:
        keep(decoder, arrival)  # type: ignore[arg-type]
        kept.append(decoder._kept_bytes)

    monkeypatch.setattr(Decoder, "_keep", noted)
    large = track(count=6, key_every=6, size=(3840, 2160), noise=0.0, options={"preset": "ultrafast"})

    def play(viewer: Viewer) -> None:
        for number in itertools.count():
            viewer.send_payloads(large.frames[number % 6].payloads, number / 60)
            if viewer.is_gone.wait(1 / 60):
                return

    with RtspCamera([], play, sdp=large.sdp) as camera:
        seen = watch("large", camera)
        until(lambda: spared("large") > 20, seen)
        until(lambda: seen.age_s < 0.5, seen)
        assert seen.states == [LIVE]
        assert max(kept) < 25e6
