"""Decides when a frame is due: a file plays at its own speed, and decoding must keep up with a camera."""

from __future__ import annotations

import threading
from typing import Any

import av

from motion.opening import StreamError

_SLOW_WINDOW_S, _SLOW_FRAMES = 8.0, 4  # fewer frames than this in the window cannot make a burst
_LATE_S, _CAUGHT_UP_S, _PATIENCE_S = 1.0, 0.3, 1.0
_TOLERANCE_CAP_S = 30.0  # the most tolerated from a camera whose clock is slow: a burst is fresh for this long
_LONGEST_WAIT_S = 2.0
_FRAME_S = 0.04
_WAIT_S = 0.002  # a packet that took longer to come was waited for, so that none was queued
_WAIT_SHARE, _WAIT_PACE = 0.5, 0.1
_BACK_S = 0.5  # the times of some valid files go back by this much


class FileClock:
    """Plays a file at its own speed, across gaps in its times and times that go back."""

    is_skipping = False

    def __init__(self, stopping: threading.Event, fps: float) -> None:
        self._stopping = stopping
        self._frame_s = 1 / fps
        self._next_s = 0.0
        self._began_at_s: float | None = None

    def wait_for(self, time_s: float | None, now_s: float) -> bool:
        """Wait until the packet with this time is due; False if it is long overdue."""
        # Some files, such as raw .h264, have no times.
        time_s = self._next_s if time_s is None else time_s
        gone_on_s = time_s - self._next_s + self._frame_s
        self._next_s = time_s + self._frame_s
        if self._began_at_s is None:
            self._began_at_s = now_s - time_s
        elif not -_BACK_S <= gone_on_s <= max(_LONGEST_WAIT_S, 3 * self._frame_s):
            # Two recordings in one file, or a pause of the recorder: the next frame follows without the gap.
            self._began_at_s += self._frame_s - gone_on_s
        early_s = self._began_at_s + time_s - now_s
        if early_s > 0:
            self._stopping.wait(min(early_s, _LONGEST_WAIT_S))
            return True
        return early_s > -_LATE_S


class LiveClock:
    """Notices when decoding falls behind a camera, and then decodes only key frames until it has caught up."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._least: float | None = None
        self._now_s, self._pts_s, self._behind_s = 0.0, 0.0, 0.0
        self._tolerance_s = _LATE_S
        self._late_since_s: float | None = None
        self._skips_since: tuple[float, float] | None = None
        """Our clock and the camera's, when it began to decode only key frames."""
        self._recent: list[float] = []
        self._waits = 0.0
        """Share of the latest packets that were waited for."""

    @property
    def is_skipping(self) -> bool:
        """Whether only key frames are decoded."""
        return self._skips_since is not None

    def is_due(self, frame: av.VideoFrame, now_s: float) -> bool:
        """Whether the frame is current; False if newer ones are waiting already."""
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
            # Waiting frames would be passed quickly, but these came at the normal rate, so none wait. The camera itself
            # sends later than before, or its clock is slow: some stamp 25 frames a second and send 20 in the dark.
            self._least = now_s - at_s
            self._tolerance_s = min(2 * self._tolerance_s, _TOLERANCE_CAP_S)
        self._decode_all()
        return True

    def rest(self) -> None:
        """Nothing is decoded for now, so nothing can fall behind: forget the delay."""
        self._least = None
        if self.is_skipping:
            self._decode_all()

    def _decode_all(self) -> None:
        self._late_since_s = self._skips_since = None
        self._recent = []
        self._codec.skip_frame = "DEFAULT"

    def _late_s(self, at_s: float, now_s: float) -> float:
        """A frame's delay, beyond the smallest delay seen."""
        offset = now_s - at_s
        # No more can arrive than has passed and was waiting; otherwise the camera's clock jumped, and we are not late.
        most_s = now_s - self._now_s + self._behind_s + _LONGEST_WAIT_S
        if self._least is None or not -0.1 <= at_s - self._pts_s <= most_s:
            self._least = offset
        # Clocks drift apart: let the smallest delay age by a thousandth, which is more than any crystal's error.
        self._least = min(self._least + 0.001 * _FRAME_S, offset)
        self._now_s, self._pts_s, self._behind_s = now_s, at_s, offset - self._least
        return self._behind_s

    def _is_in_time(self, late_s: float, at_s: float, now_s: float) -> bool:
        if late_s < self._tolerance_s:
            self._late_since_s = None
            return True
        if self._late_since_s is None:
            self._late_since_s = now_s
        if self._waits > _WAIT_SHARE:
            # Nothing is queued, so it is the camera's clock that is slow or stands still.
            if now_s - self._late_since_s >= _PATIENCE_S:
                self._least, self._late_since_s = now_s - at_s, None
            return True
        # After a network pause decoding catches up quickly; the next key frame may be far away.
        if now_s - self._late_since_s >= _PATIENCE_S:
            self._skips_since = now_s, at_s
            self._codec.skip_frame = "NONKEY"
        return False

    def packet_came(self, now_s: float, waited_s: float) -> None:
        """Record that a packet came after waiting for it so long.

        Raises:
            StreamError: the camera sends too few frames to be of use.
        """
        self._waits += _WAIT_PACE * ((waited_s > _WAIT_S) - self._waits)
        self._recent.append(now_s)
        if now_s - self._recent[0] < _SLOW_WINDOW_S:
            return
        self._recent = [at_s for at_s in self._recent if now_s - at_s < _SLOW_WINDOW_S]
        if len(self._recent) < _SLOW_FRAMES:
            raise StreamError(f"only {len(self._recent)} frames in {_SLOW_WINDOW_S:g} s: set it to 2 or more a second")
