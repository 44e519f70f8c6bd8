"""The only place that opens a camera: one reading thread per camera, its newest frame, and its state."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import av
import av.error
import numpy as np
import simplejpeg
import structlog
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge

from functions import backoff
from functions.event import utc_now

log = structlog.get_logger()

FRAMES_READ = Counter("bongsu_frames_read_total", "Frames decoded", ["camera"])
FRAMES_DROPPED = Counter("bongsu_frames_dropped_total", "Frames left out to stay at the newest one", ["camera"])
CAMERA_UP = Gauge("bongsu_camera_up", "1 while frames come in", ["camera"], multiprocess_mode="mostrecent")
RECONNECTS = Counter("bongsu_camera_reconnects_total", "Times a lost camera was opened again", ["camera"])

LIVE = "live"
OPEN_TIMEOUT_S = 5.0
SILENCE_S = 5.0  # no packet for so long is a dead stream
HANG_S = 7.5  # a thread that has not come back for so long is given up, and another takes its place
_MOST_HANGING = 4
_SLOW_WINDOW_S, _SLOW_FRAMES = 8.0, 4  # fewer frames than this in the window cannot make a burst
_BACKOFF_S, _BACKOFF_CAP_S = 0.5, 30.0
_STEADY_S = 10.0  # a stream that lived so long starts its back-off anew
_LATE_S, _CAUGHT_UP_S, _PATIENCE_S = 1.0, 0.3, 1.0
_TOLERANCE_CAP_S = 30.0  # what is borne of a camera whose clock is slow: a burst is fresh for so long
_LOOK_PX = 320 * 180
_MIN_SIDE, _MAX_PX = 32, 4096 * 2304
_BAD_PACKETS = 100
_KEY_FRAME_S = 20.0  # nothing can be decoded before a whole picture has come, and some cameras send one so seldom
_SHORTEST_PASS_S = 0.2
_LONGEST_WAIT_S = 2.0
_FRAME_S = 0.04
_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "gray")


class StreamError(Exception):
    """A camera cannot be opened or read; one line that holds no URL."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded frame, not yet converted to anything."""

    frame: av.VideoFrame
    captured_at: datetime
    at_s: float
    """The same moment on the steady clock."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.frame.width, self.frame.height

    def luma(self) -> NDArray[np.uint8]:
        """Brightness, every n-th pixel, about as many as 320x180 has; shape (H, W)."""
        frame = self.frame if self.frame.format.name in _PLANAR else self.frame.reformat(format="gray")
        plane: Any = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        step = max(1, round(math.sqrt(frame.width * frame.height / _LOOK_PX)))
        return np.ascontiguousarray(rows[step // 2 :: step, step // 2 :: step])

    def jpeg(self, width: int, quality: int) -> bytes:
        """The frame as JPEG, scaled down to `width` pixels where it is wider; quality 0 to 100."""
        scale = min(1.0, width / self.frame.width)
        size = max(2, round(self.frame.width * scale)), max(2, round(self.frame.height * scale))
        image = self.frame.to_ndarray(format="bgr24", width=size[0], height=size[1])
        stored: bytes = simplejpeg.encode_jpeg(image, quality=quality, colorspace="BGR", colorsubsampling="420")
        return stored


@dataclass(frozen=True, slots=True)
class Probe:
    """What a camera turned out to be."""

    codec: str
    width: int
    height: int
    fps: float
    """Frames a second as the stream states it, 0 where it does not."""
    first_frame_s: float
    """Seconds from the start of opening to the first decoded frame."""
    picture: Picture


def probe(url: str) -> Probe:
    """Open a camera and decode one frame. Blocks, usually for less than 10 s.

    Raises:
        StreamError: no frame can be had; the message says why, in one line.
    """
    started_at_s = time.monotonic()
    with _opened(url) as (container, stream):
        for frame in _frames(container, stream):
            _require_size(frame)
            rate = stream.average_rate or stream.guessed_rate
            return Probe(
                codec=stream.codec_context.name,
                width=frame.width,
                height=frame.height,
                fps=float(rate or 0),
                first_frame_s=time.monotonic() - started_at_s,
                picture=Picture(frame, utc_now(), time.monotonic()),
            )
    raise StreamError("holds no picture")


def read_file(path: str) -> Iterator[av.VideoFrame]:
    """Decode a file as fast as can be, in the way a camera is decoded.

    Raises:
        StreamError: it cannot be read.
    """
    with _opened(path) as (container, stream):
        yield from _frames(container, stream)


class Stream:
    """Reads one camera until stopped, and opens it again whenever it is lost.

    `on_picture` is called for every frame, in the thread that decodes: where it takes too long, frames are left out
    so that it never falls behind. `on_state` is called with `live` or `lost: <reason>` at every change, from any
    thread.
    """

    def __init__(
        self, camera: str, url: str, on_picture: Callable[[Picture], None], on_state: Callable[[str], None]
    ) -> None:
        self.camera = camera
        self._url = url
        self._on_picture = on_picture
        self._on_state = on_state
        self._lock = threading.Lock()
        self._state = ""
        self._reader: _Reader | None = None
        self.last_frame_at_s: float | None = None

    def start(self) -> None:
        """Begin to read, in a thread of its own."""
        self._reader = _Reader(self, self._url, attempt=0)
        self._reader.start()

    def stop(self) -> None:
        """Ask the thread to end. Returns at once, even if the thread hangs."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stopping.set()
        CAMERA_UP.labels(self.camera).set(0)

    def forget(self) -> None:
        """Count a stopped camera no longer: it is read elsewhere, or by nobody for good, and that is no fault here."""
        # Files that several processes share know no removal.
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            CAMERA_UP.remove(self.camera)

    def join(self, timeout_s: float) -> None:
        """Wait for a stopped thread; one that hangs is left behind."""
        for thread in self._readers():
            thread.join(timeout_s)

    def watch(self) -> None:
        """Replace a thread that hangs in the network or a driver. Call about once a second."""
        reader = self._reader
        if reader is None or time.monotonic() - reader.heard_at_s < HANG_S:
            return
        self.report(reader, f"lost: nothing came for {HANG_S:g} s")
        # Nothing ends a thread that hangs: once there are so many, the last may go on when it is let go.
        if len(self._readers()) >= _MOST_HANGING:
            return
        reader.stopping.set()
        self._reader = _Reader(self, self._url, attempt=reader.attempt + 1)
        self._reader.start()

    def _readers(self) -> list[_Reader]:
        return [t for t in threading.enumerate() if isinstance(t, _Reader) and t.stream is self]

    def report(self, reader: _Reader, state: str) -> None:
        """Tell a change of state; what a replaced thread says is not heard."""
        with self._lock:
            if reader is not self._reader:
                return
            if state == self._state:
                return
            self._state = state
        CAMERA_UP.labels(self.camera).set(1 if state == LIVE else 0)
        if state == LIVE:
            log.info("camera_live", camera=self.camera)
        else:
            log.warning("camera_lost", camera=self.camera, reason=state.removeprefix("lost: "))
        self._on_state(state)

    def deliver(self, reader: _Reader, picture: Picture) -> None:
        if reader is self._reader:
            self.last_frame_at_s = picture.at_s
            self._on_picture(picture)


class _Reader(threading.Thread):
    """One reading thread. A daemon: one that hangs in the network must not hold up the end of the process."""

    def __init__(self, stream: Stream, url: str, attempt: int) -> None:
        super().__init__(name=f"camera-{stream.camera}", daemon=True)
        self.stream = stream
        self.attempt = attempt
        self.stopping = threading.Event()
        self.heard_at_s = time.monotonic()
        self._url = url
        self._is_file = is_file(url)
        self._read = FRAMES_READ.labels(stream.camera)
        self._dropped = FRAMES_DROPPED.labels(stream.camera)
        self._reconnects = RECONNECTS.labels(stream.camera)

    def run(self) -> None:
        while not self.stopping.is_set():
            began_at_s = self.heard_at_s = time.monotonic()
            try:
                self._read_once()
                if self._is_file:
                    # Its end was reached: play it again, but a file of one picture not a thousand times a second.
                    self.stopping.wait(max(0.0, _SHORTEST_PASS_S - (time.monotonic() - began_at_s)))
                    continue
            except StreamError as error:
                self.stream.report(self, f"lost: {error}")
            except Exception as error:
                # Whatever a broken stream does to a decoder must end here, and not the watch over this camera.
                self.stream.report(self, f"lost: {type(error).__name__} while reading")
            if time.monotonic() - began_at_s > _STEADY_S:
                self.attempt = 0
            self.heard_at_s = math.inf
            if self.stopping.wait(backoff_s(self.attempt)):
                return
            self.attempt += 1
            self._reconnects.inc()

    def _read_once(self) -> None:
        with _opened(self._url) as (container, stream):
            try:
                self._play(container, stream)
            except StreamError as error:
                # Told before the container closes: to say goodbye to a camera that is gone takes seconds.
                self.heard_at_s = time.monotonic()
                self.stream.report(self, f"lost: {error}")
                raise

    def _play(self, container: Any, stream: Any) -> None:
        """Read until the stream ends, which for a camera is an error and for a file its time to begin again."""
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        clock = _FileClock(self.stopping, fps) if self._is_file else _LiveClock(stream.codec_context)
        first: av.VideoFrame | None = None
        shown_at_s = time.monotonic()
        # By packets and not by pictures: one that sends no picture must be left too, and not be read for ever.
        for frames in _decoded(container, stream):
            if self.stopping.is_set():
                return
            now_s = time.monotonic()
            # What FFmpeg had left is handed out when a silent stream times out: it is no sign of life.
            if not self._is_file and first is not None and now_s - self.heard_at_s >= SILENCE_S:
                raise StreamError(f"nothing came for {SILENCE_S:g} s")
            self.heard_at_s = now_s
            limit_s = _KEY_FRAME_S if first is None or clock.is_skipping else HANG_S
            if frames:
                shown_at_s = now_s
            elif now_s - shown_at_s >= limit_s:
                raise StreamError(f"sends data, but no picture in {limit_s:g} s: is its key frame interval longer?")
            for frame in frames:
                now_s = time.monotonic()
                self._read.inc()
                if first is None:
                    _require_size(frame)
                    first = frame
                    self.stream.report(self, LIVE)
                elif (frame.width, frame.height) != (first.width, first.height):
                    sizes = f"{first.width}x{first.height} to {frame.width}x{frame.height}"
                    raise StreamError(f"the picture changed from {sizes}")
                if clock.is_due(frame, now_s):
                    self.stream.deliver(self, Picture(frame, utc_now(), time.monotonic()))
                else:
                    self._dropped.inc()
        if first is None:
            raise StreamError("holds no picture")
        if self._is_file or self.stopping.is_set():
            return
        raise StreamError("the stream ended")


class _FileClock:
    """Plays a file at its own speed."""

    is_skipping = False

    def __init__(self, stopping: threading.Event, fps: float) -> None:
        self._stopping = stopping
        self._frame_s = 1 / fps
        self._next_pts_s = 0.0
        self._began_at_s: float | None = None

    def is_due(self, frame: av.VideoFrame, now_s: float) -> bool:
        """Wait until the frame is due; False if that is long past."""
        # Some files, as raw .h264, hold no times.
        pts_s = self._next_pts_s if frame.time is None else frame.time
        self._next_pts_s = pts_s + self._frame_s
        if self._began_at_s is None:
            self._began_at_s = now_s - pts_s
        early_s = self._began_at_s + pts_s - now_s
        if early_s > 0:
            self._stopping.wait(min(early_s, _LONGEST_WAIT_S))
            return True
        return early_s > -_LATE_S


class _LiveClock:
    """Sees when decoding falls behind a camera, and then decodes key frames only until it has caught up."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._least: float | None = None
        self._now_s, self._pts_s, self._behind_s = 0.0, 0.0, 0.0
        self._tolerance_s = _LATE_S
        self._late_since_s: float | None = None
        self._skips_since: tuple[float, float] | None = None
        """Our clock and the camera's, where it began to decode key frames only."""
        self._recent: list[float] = []

    @property
    def is_skipping(self) -> bool:
        """Whether only key frames are decoded."""
        return self._skips_since is not None

    def is_due(self, frame: av.VideoFrame, now_s: float) -> bool:
        """Whether the frame is news; False if newer ones are waiting already.

        Raises:
            StreamError: the camera sends too few frames to be of use.
        """
        if self._skips_since is None:
            self._require_pace(now_s)
        at_s: float | None = frame.time
        if at_s is None:
            return True
        late_s = self._late_s(at_s, now_s)
        if self._skips_since is None:
            return self._is_in_time(late_s, at_s, now_s)
        if late_s > _CAUGHT_UP_S:
            spent_s, gained_s = now_s - self._skips_since[0], at_s - self._skips_since[1]
            if spent_s < _PATIENCE_S or spent_s < gained_s / 2:
                return False
            # What waits is passed quickly, and this took as long as it lasts: nothing waits. It is the camera that
            # sends later than before, or whose clock is slow: some stamp 25 frames a second and send 20 in the dark.
            self._least = now_s - at_s
            self._tolerance_s = min(2 * self._tolerance_s, _TOLERANCE_CAP_S)
        self._late_since_s = self._skips_since = None
        self._recent = []
        self._codec.skip_frame = "DEFAULT"
        return True

    def _late_s(self, at_s: float, now_s: float) -> float:
        """By how much more than at best it takes a frame to come here."""
        offset = now_s - at_s
        # No more can come than has passed and was waiting; else the camera's clock jumped, which says nothing of us.
        most_s = now_s - self._now_s + self._behind_s + _LONGEST_WAIT_S
        if self._least is None or not -0.1 <= at_s - self._pts_s <= most_s:
            self._least = offset
        # Clocks drift apart: let the least delay ever seen age by a thousandth, more than any crystal errs.
        self._least = min(self._least + 0.001 * _FRAME_S, offset)
        self._now_s, self._pts_s, self._behind_s = now_s, at_s, offset - self._least
        return self._behind_s

    def _is_in_time(self, late_s: float, at_s: float, now_s: float) -> bool:
        if late_s < self._tolerance_s:
            self._late_since_s = None
            return True
        if self._late_since_s is None:
            self._late_since_s = now_s
        # A pause of the network is made up for in a moment; the next key frame may be far away.
        if now_s - self._late_since_s >= _PATIENCE_S:
            self._skips_since = now_s, at_s
            self._codec.skip_frame = "NONKEY"
        return False

    def _require_pace(self, now_s: float) -> None:
        self._recent.append(now_s)
        if now_s - self._recent[0] < _SLOW_WINDOW_S:
            return
        self._recent = [at_s for at_s in self._recent if now_s - at_s < _SLOW_WINDOW_S]
        if len(self._recent) < _SLOW_FRAMES:
            raise StreamError(f"only {len(self._recent)} frames in {_SLOW_WINDOW_S:g} s: set it to 2 or more a second")


def is_file(url: str) -> bool:
    """Whether a camera is a file that is played, and not a live one."""
    return "://" not in url and _webcam(url) is None


def backoff_s(attempt: int) -> float:
    """How long to wait before try number `attempt` (from 0): doubling, jittered by half, at most 30 s."""
    # The jitter keeps the cameras of a switch that went down from all coming back in the same second.
    # Between half and the whole of a doubling pause.
    return backoff.backoff_s(attempt, first_s=0.75 * _BACKOFF_S, longest_s=0.75 * _BACKOFF_CAP_S, jitter=1 / 3)


def _webcam(url: str) -> int | None:
    number = url.removeprefix("webcam:")
    return int(number) if number.isdecimal() else None


@contextmanager
def _opened(url: str) -> Iterator[tuple[Any, Any]]:
    """A container and its video stream, closed at the end; whatever FFmpeg says on the way becomes a StreamError."""
    source, form, options = url, None, {}
    webcam = _webcam(url)
    if webcam is not None:
        source, form = f"/dev/video{webcam}", "v4l2"
    elif is_file(url):
        # FFmpeg would take what stands before a colon in the name for a protocol.
        source = f"file:{url}"
    else:
        # TCP: over UDP a burst of loss is a grey picture. Short analysis: the default of 5 s is most of a start.
        options = {
            "rtsp_transport": "tcp",
            "allowed_media_types": "video",
            "analyzeduration": "500000",
            "probesize": "200000",
        }
    began_at_s = time.monotonic()
    try:
        container = av.open(source, format=form, options=options, timeout=(OPEN_TIMEOUT_S, SILENCE_S))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if time.monotonic() - began_at_s >= OPEN_TIMEOUT_S:  # FFmpeg calls it invalid data
            raise StreamError(f"no answer for {OPEN_TIMEOUT_S:g} s") from None
        raise StreamError(_reason(error, OPEN_TIMEOUT_S)) from None
    try:
        if not container.streams.video:
            raise StreamError("holds no video")
        stream = container.streams.video[0]
        # One thread: a node has more cameras than cores, and every decoding thread holds its frame back by one.
        stream.codec_context.thread_count = 1
        yield container, stream
    finally:
        with suppress(av.error.FFmpegError, OSError):
            container.close()


def _frames(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    for frames in _decoded(container, stream):
        yield from frames


def _decoded(container: Any, stream: Any) -> Iterator[Sequence[av.VideoFrame]]:
    """The pictures in each packet: mostly one, none while the decoder waits for a whole picture."""
    bad = 0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except (av.error.InvalidDataError, av.error.ExternalError):
                bad += 1
                if bad >= _BAD_PACKETS:
                    raise StreamError(f"{bad} packets in a row cannot be decoded") from None
                frames = []
            if frames:
                bad = 0
            yield frames
    except av.error.EOFError:
        return
    except av.error.FFmpegError as error:
        raise StreamError(_reason(error, SILENCE_S)) from None


def _require_size(frame: av.VideoFrame) -> None:
    size = f"the picture is {frame.width}x{frame.height}"
    if min(frame.width, frame.height) < _MIN_SIDE:
        raise StreamError(f"{size}: too small to see anything in, {_MIN_SIDE}x{_MIN_SIDE} is the least")
    if frame.width * frame.height > _MAX_PX:
        raise StreamError(f"{size}: too big to decode in time, 4096x2304 is the most: use the camera's sub-stream")


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (av.error.FileNotFoundError, "no such file or device"),
    (av.error.PermissionError, "permission denied"),
    (av.error.IsADirectoryError, "is a folder, not a video"),
    (av.error.ConnectionRefusedError, "connection refused: is the camera on, and the port right?"),
    (av.error.HTTPUnauthorizedError, "user name or password refused"),
    (av.error.HTTPForbiddenError, "access forbidden"),
    (av.error.HTTPNotFoundError, "the camera has no such stream"),
    (av.error.InvalidDataError, "holds no video that can be read"),
)


def _reason(error: Exception, limit_s: float) -> str:
    """Why, in one line without the URL that FFmpeg puts into its own message."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, av.error.ExitError | TimeoutError):
        return f"no answer for {limit_s:g} s"
    text = getattr(error, "strerror", None) or type(error).__name__
    return " ".join(str(text).split()).lower()
