"""Clips: copies the packets of a camera around its bursts into MP4 files, without decoding or encoding anything.

A camera's reading thread passes every packet to its `ClipRecorder`, which keeps those of the last seconds, and begins
a clip with them when a burst was recorded.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import av
import av.error
import structlog
from prometheus_client import Counter

from functions.clip import ClipName
from motion.decoding import Arrival

log = structlog.get_logger()

CLIPS = Counter("bongsu_clips_total", "Clips of cameras, by what became of them", ["camera", "outcome"])

CODECS = ("h264", "hevc", "av1", "mpeg4")
"""What is copied into an MP4; browsers play the first, and most of them the next two."""
_LONGEST_STEP_S = 10.0
_DECODING_S = 10.0
"""How late a quiet camera's pictures are checked at most: two key frame intervals (motion/decoding.py)."""


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """How long and how large a clip may be."""

    before_s: float = 5.0
    """Seconds before the burst; the clip begins at the key frame before."""
    after_s: float = 5.0
    """Seconds after the last burst of the clip."""
    longest_s: float = 60.0
    """While bursts go on, a clip ends at this length, and the next burst begins another."""
    max_bytes: int = 16_000_000
    """A clip ends at this size; half of it is the most that is kept in memory before a burst."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A finished clip: an MP4 that is not sealed yet."""

    name: ClipName
    mp4: bytes


class ClipWriter:
    """Writes packets of one stream into an MP4 in memory."""

    def __init__(self, stream: Any) -> None:
        """Begin a file for packets of this open stream.

        Raises:
            FFmpegError: its codec cannot be stored in an MP4.
        """
        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, "w", format="mp4")
        self._out = self._container.add_stream_from_template(stream)
        if stream.codec_context.name == "hevc":
            self._out.codec_context.codec_tag = "hvc1"  # Safari plays no other
        rate = stream.average_rate or stream.guessed_rate or 25
        self._step = max(1, round(1 / (rate * stream.time_base)))
        self._longest_step = max(1, round(_LONGEST_STEP_S / stream.time_base))
        self._shift: int | None = None
        self._last = 0
        self._previous = b""
        self.size = 0
        """Bytes of the packets so far."""

    def add(self, packet: Any) -> None:
        """Copy a packet; its times are shifted so that the file begins at 0 and never goes back."""
        content = bytes(packet)
        if content == self._previous:
            # Some RTSP servers send a packet twice when they are late; browsers stop at the second.
            return
        self._previous = content
        copy = av.Packet(content)
        copy.dts = self._decoded_at(packet.pts if packet.dts is None else packet.dts)
        late = packet.pts - packet.dts if packet.pts is not None and packet.dts is not None else 0
        copy.pts = copy.dts + max(0, late)
        copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, self._out
        self._container.mux(copy)
        self.size += len(content)

    def finish(self) -> bytes:
        """Close the file, and return it."""
        self._container.close()
        return self._buffer.getvalue()

    def _decoded_at(self, at: int | None) -> int:
        if self._shift is None:
            self._shift = at or 0
            return 0
        shifted = self._last + self._step if at is None else at - self._shift
        if not self._last < shifted <= self._last + self._longest_step:
            # The camera's clock jumped, or a file began again: the next picture follows without the gap.
            shifted = self._last + self._step
            self._shift = self._shift if at is None else at - shifted
        self._last = shifted
        return shifted


class ClipRecorder:
    """Records the clips of one camera. `add` is called by the camera's reading thread, `trigger` by any."""

    def __init__(self, camera: str, limits: ClipLimits, burst_s: float, on_clip: Callable[[Clip], None]) -> None:
        """Record one camera.

        Args:
            camera: its id.
            limits: of each clip.
            burst_s: how long a burst of it lasts; a clip is triggered when one has ended.
            on_clip: receives each finished clip, in the reading thread.
        """
        self._camera = camera
        self._limits = limits
        self._kept_s = limits.before_s + burst_s + _DECODING_S
        self._on_clip = on_clip
        self._lock = threading.Lock()
        self._stream: Any = None
        self._is_copied = False
        self._kept: deque[Arrival] = deque()
        self._kept_bytes = 0
        self._writer: ClipWriter | None = None
        self._first_at = self._last_at = datetime.min.replace(tzinfo=UTC)
        self._wanted_from: datetime | None = None
        self._wanted_until: datetime | None = None

    def connect(self, stream: Any) -> None:
        """A stream was opened, perhaps with other properties than the one before."""
        with self._lock:
            self._finish()
            self._stream = stream
            self._drop_kept()
            self._is_copied = stream.codec_context.name in CODECS
            if not self._is_copied:
                log.warning("clips_impossible", camera=self._camera, codec=stream.codec_context.name)

    def disconnect(self, stream: Any) -> None:
        """A stream ends; it must still be open. Ignored if another one was opened since."""
        with self._lock:
            if stream is self._stream:
                self._begin_if_wanted()
                self._finish()
                self._stream = None
                self._drop_kept()

    def trigger(self, began_at: datetime, ended_at: datetime) -> None:
        """A burst was recorded: begin a clip with the next packet, or make the current one longer."""
        with self._lock:
            self._wanted_from = self._wanted_from or began_at - timedelta(seconds=self._limits.before_s)
            self._wanted_until = ended_at + timedelta(seconds=self._limits.after_s)

    def add(self, stream: Any, arrival: Arrival) -> None:
        """Process the next packet of a stream."""
        with self._lock:
            if stream is not self._stream or not self._is_copied or not arrival.packet.size:
                return
            self._keep(arrival)
            if self._writer is None:
                self._begin_if_wanted()
            else:
                self._write(arrival)
            if self._writer is not None and self._is_complete():
                self._finish()

    def _keep(self, arrival: Arrival) -> None:
        """Keep whole key frame intervals, as many as the next clip may need."""
        if not self._kept and not arrival.packet.is_keyframe:
            return
        self._kept.append(arrival)
        self._kept_bytes += arrival.packet.size
        if arrival.packet.is_keyframe:
            keys = [kept.at_s for kept in self._kept if kept.packet.is_keyframe]
            while len(keys) > 1 and (keys[1] <= arrival.at_s - self._kept_s or self._is_too_large):
                self._drop_before(keys[1])
                del keys[0]
        if self._is_too_large:
            keys = [kept.at_s for kept in self._kept if kept.packet.is_keyframe]
            self._drop_before(keys[1] if len(keys) > 1 else float("inf"))

    @property
    def _is_too_large(self) -> bool:
        return self._kept_bytes > self._limits.max_bytes // 2

    def _drop_before(self, at_s: float) -> None:
        while self._kept and self._kept[0].at_s < at_s:
            self._kept_bytes -= self._kept.popleft().packet.size

    def _drop_kept(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0

    def _begin_if_wanted(self) -> None:
        if self._writer is not None or self._wanted_from is None or not self._kept:
            return
        # What the last clip shows is not stored twice.
        wanted_from = max(self._wanted_from, self._last_at)
        keys = [kept for kept in self._kept if kept.packet.is_keyframe]
        first = next((key for key in reversed(keys) if key.captured_at <= wanted_from), keys[0])
        try:
            self._writer = ClipWriter(self._stream)
        except (av.error.FFmpegError, ValueError) as error:
            self._fail(error)
            return
        self._first_at = first.captured_at
        for kept in list(self._kept):
            if kept.at_s >= first.at_s:
                self._write(kept)

    def _write(self, arrival: Arrival) -> None:
        if self._writer is None:
            return
        try:
            self._writer.add(arrival.packet)
            self._last_at = arrival.captured_at
        except (av.error.FFmpegError, ValueError) as error:
            self._writer = None
            self._fail(error)

    def _is_complete(self) -> bool:
        assert self._writer is not None
        is_long = self._last_at - self._first_at >= timedelta(seconds=self._limits.longest_s)
        is_over = self._wanted_until is None or self._last_at >= self._wanted_until
        return is_over or is_long or self._writer.size >= self._limits.max_bytes

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        self._wanted_from = self._wanted_until = None
        if writer is None:
            return
        try:
            mp4 = writer.finish()
        except (av.error.FFmpegError, ValueError) as error:
            self._fail(error)
            return
        self._on_clip(Clip(ClipName(self._camera, self._first_at, self._last_at), mp4))

    def _fail(self, error: Exception) -> None:
        self._wanted_from = self._wanted_until = None
        CLIPS.labels(self._camera, "failed").inc()
        log.error("clip_not_made", camera=self._camera, reason=getattr(error, "strerror", None) or type(error).__name__)
