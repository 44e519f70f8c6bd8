"""One reading thread for each camera: it delivers pictures and states, and opens the camera again when it is lost."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from functions import backoff
from functions.event import utc_now
from motion import opening
from motion.clip import ClipRecorder
from motion.clock import FileClock, LiveClock
from motion.decoding import Arrival, Decoder, Watcher
from motion.opening import StreamError, is_file, opened, require_size
from motion.picture import Picture
from motion.reading import packets

log = structlog.get_logger()

FRAMES_READ = Counter("bongsu_frames_read_total", "Frames decoded", ["camera"])
FRAMES_DROPPED = Counter("bongsu_frames_dropped_total", "Frames skipped to stay at the newest one", ["camera"])
CAMERA_UP = Gauge("bongsu_camera_up", "1 while frames come in", ["camera"], multiprocess_mode="mostrecent")
RECONNECTS = Counter("bongsu_camera_reconnects_total", "Times a lost camera was opened again", ["camera"])

LIVE = "live"
HANG_S = 7.5  # a thread without progress for this long is abandoned and replaced
_MOST_HANGING = 4
_BACKOFF_S, _BACKOFF_CAP_S = 0.5, 30.0
_STEADY_S = 10.0  # a stream that lasted this long resets its back-off
_KEY_FRAME_S = 20.0  # decoding starts at a key frame, and some cameras send one this rarely
_SHORTEST_PASS_S = 0.2


class Stream:
    """Reads one camera until stopped, and opens it again whenever it is lost.

    `on_picture` is called for every frame, in the decoding thread; if it takes too long, frames are skipped so that it
    never falls behind. `on_state` is called with `live` or `lost: <reason>` at every change, from any thread.
    """

    def __init__(
        self,
        camera: str,
        url: str,
        on_picture: Callable[[Picture], None],
        on_state: Callable[[str], None],
        watcher: Watcher | None = None,
        *,
        max_latency_s: float = 4.0,
        clips: ClipRecorder | None = None,
        hardware: str = opening.NO_HARDWARE,
    ) -> None:
        """Prepare; `start` begins to read.

        Args:
            camera: its id.
            url: its address.
            on_picture: receives every decoded picture.
            on_state: receives its state.
            watcher: says when key frames are enough; without one every frame is decoded.
            max_latency_s: a camera whose key frames are farther apart is decoded all the time.
            clips: receives every packet.
            hardware: the kind of device to decode on, if there is one.
        """
        self.camera = camera
        self.clips = clips
        self.watcher = watcher
        self.max_latency_s = max_latency_s
        self.hardware = hardware
        self._url = url
        self._on_picture = on_picture
        self._on_state = on_state
        self._lock = threading.Lock()
        self._state = ""
        self._reader: _Reader | None = None
        self.last_frame_at_s: float | None = None

    def start(self) -> None:
        """Begin to read, in a separate thread."""
        self._reader = _Reader(self, self._url, attempt=0)
        self._reader.start()

    def stop(self) -> None:
        """Ask the thread to end. Returns at once, even if the thread hangs."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stopping.set()
        CAMERA_UP.labels(self.camera).set(0)

    def forget(self) -> None:
        """Remove a stopped camera from the metrics: another node reads it, or it was removed, which is not a fault."""
        # Metrics that several processes share in files cannot be removed.
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            CAMERA_UP.remove(self.camera)

    def join(self, timeout_s: float) -> None:
        """Wait for a stopped thread; one that hangs is left behind."""
        for thread in self._readers():
            thread.join(timeout_s)

    def watch(self) -> None:
        """Replace a thread that hangs in the network or a driver. Call this about once a second."""
        reader = self._reader
        if reader is None or time.monotonic() - reader.heard_at_s < HANG_S:
            return
        self.report(reader, f"lost: nothing came for {HANG_S:g} s")
        # A hanging thread cannot be ended: once there are this many, the last one is kept and may recover.
        if len(self._readers()) >= _MOST_HANGING:
            return
        reader.stopping.set()
        self._reader = _Reader(self, self._url, attempt=reader.attempt + 1)
        self._reader.start()

    def _readers(self) -> list[_Reader]:
        return [t for t in threading.enumerate() if isinstance(t, _Reader) and t.stream is self]

    def report(self, reader: _Reader, state: str) -> None:
        """Report a change of state; reports of a replaced thread are ignored."""
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
    """One reading thread. A daemon: a thread that hangs in the network must not delay the process's exit."""

    def __init__(self, stream: Stream, url: str, attempt: int) -> None:
        super().__init__(name=f"camera-{stream.camera}", daemon=True)
        self.stream = stream
        self.attempt = attempt
        self.stopping = threading.Event()
        self.heard_at_s = time.monotonic()
        self._url = url
        self._is_file = is_file(url)
        self._size: tuple[int, int] | None = None
        self._shown_at_s = 0.0
        self._read = FRAMES_READ.labels(stream.camera)
        self._dropped = FRAMES_DROPPED.labels(stream.camera)
        self._reconnects = RECONNECTS.labels(stream.camera)

    def run(self) -> None:
        while not self.stopping.is_set():
            began_at_s = self.heard_at_s = time.monotonic()
            try:
                self._read_once()
                if self._is_file:
                    # The end of the file: play it again, but not a file of one picture a thousand times a second.
                    self.stopping.wait(max(0.0, _SHORTEST_PASS_S - (time.monotonic() - began_at_s)))
                    continue
            except StreamError as error:
                self.stream.report(self, f"lost: {error}")
            except Exception as error:
                # Whatever a broken stream does to the decoder, the camera must stay watched.
                self.stream.report(self, f"lost: {type(error).__name__} while reading")
            if time.monotonic() - began_at_s > _STEADY_S:
                self.attempt = 0
            self.heard_at_s = math.inf
            if self.stopping.wait(backoff_s(self.attempt)):
                return
            self.attempt += 1
            self._reconnects.inc()

    def _read_once(self) -> None:
        with opened(self._url, self.stream.hardware) as (container, stream):
            self.heard_at_s = time.monotonic()
            clips = self.stream.clips
            try:
                if clips is not None:
                    clips.connect(stream)
                self._play(container, stream)
            except StreamError as error:
                # Reported before the container closes: closing the connection to a lost camera takes seconds.
                self.heard_at_s = time.monotonic()
                self.stream.report(self, f"lost: {error}")
                raise
            finally:
                if clips is not None:
                    clips.disconnect(stream)

    def _play(self, container: Any, stream: Any) -> None:
        """Read until the stream ends: for a camera that is an error, for a file the time to start again."""
        codec = stream.codec_context
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        file_clock, live_clock = FileClock(self.stopping, fps), LiveClock(codec)
        decoder = Decoder(codec, self.stream.camera, self.stream.watcher, self.stream.max_latency_s)
        self._forget_picture()
        way, asked_at_s = "", time.monotonic()
        # By packets, not by pictures: a stream that sends no picture must be given up too.
        for packet in packets(container, stream):
            if self.stopping.is_set():
                return
            waited_s = time.monotonic() - asked_at_s
            self._note_packet(live_clock.is_skipping)
            is_due = True
            if self._is_file:
                if packet.size:
                    time_s = None if packet.dts is None else float(packet.dts * packet.time_base)
                    is_due = file_clock.wait_for(time_s, self.heard_at_s)
            else:
                live_clock.packet_came(self.heard_at_s, waited_s)
            arrival = Arrival(packet, utc_now(), time.monotonic())
            self._pass_on(stream, arrival)
            for picture in decoder.feed(arrival):
                self._note_picture(picture)
                # Kept packets are older than the clock allows, but wanted nevertheless.
                is_kept = picture.at_s < arrival.at_s
                if is_kept or (is_due and (self._is_file or live_clock.is_due(picture.frame, picture.at_s))):
                    self.stream.deliver(self, picture)
                else:
                    self._dropped.inc()
            if decoder.is_resting:
                self._rest(decoder, live_clock, arrival.at_s)
            if decoder.way != way:
                way = decoder.way
                log.info("camera_decoded", camera=self.stream.camera, way=way, reason=decoder.reason)
            asked_at_s = time.monotonic()
        if self._size is None:
            raise StreamError("holds no picture")
        if self._is_file or self.stopping.is_set():
            return
        raise StreamError("the stream ended")

    def _pass_on(self, stream: Any, arrival: Arrival) -> None:
        if self.stream.clips is not None:
            self.stream.clips.add(stream, arrival)

    def _forget_picture(self) -> None:
        self._size, self._shown_at_s = None, time.monotonic()

    def _note_packet(self, is_skipping: bool) -> None:
        """Record a packet; a stream that yields no picture is given up."""
        now_s = time.monotonic()
        # When a silent stream times out, FFmpeg hands out what it had buffered: that does not show that it is alive.
        if not self._is_file and self._size is not None and now_s - self.heard_at_s >= opening.SILENCE_S:
            raise StreamError(f"nothing came for {opening.SILENCE_S:g} s")
        self.heard_at_s = now_s
        limit_s = _KEY_FRAME_S if self._size is None or is_skipping else max(HANG_S, self.stream.max_latency_s + 2)
        if now_s - self._shown_at_s >= limit_s:
            why = "is its key frame interval longer, or its codec another than it says?"
            raise StreamError(f"sends data, but no picture in {limit_s:g} s: {why}")

    def _note_picture(self, picture: Picture) -> None:
        """Record a picture."""
        self._shown_at_s = time.monotonic()
        self._read.inc()
        if self._size is None:
            require_size(picture.frame)
            self._size = picture.size
            self.stream.report(self, LIVE)
        elif picture.size != self._size:
            (before, height), (now, now_height) = self._size, picture.size
            raise StreamError(f"the picture changed from {before}x{height} to {now}x{now_height}")

    def _rest(self, decoder: Decoder, clock: LiveClock, at_s: float) -> None:
        """Record that a quiet camera is up to date, though few of its pictures are decoded."""
        self._shown_at_s = at_s
        self.stream.last_frame_at_s = at_s
        if decoder.way == "key frames":
            clock.rest()


def backoff_s(attempt: int) -> float:
    """How long to wait before try number `attempt` (from 0): doubling, jittered by half, at most 30 s."""
    # The jitter spreads the reconnections of cameras whose switch went down.
    # Between half and all of the doubled pause.
    return backoff.backoff_s(attempt, first_s=0.75 * _BACKOFF_S, longest_s=0.75 * _BACKOFF_CAP_S, jitter=1 / 3)
