"""When a frame is due: a file plays at its own speed, and a camera must not be decoded later than it sends."""

from __future__ import annotations

import threading
from typing import Any

import av

from motion.opening import StreamError

_SLOW_WINDOW_S, _SLOW_FRAMES = 8.0, 4  # fewer frames than this in the window cannot make a burst
_LATE_S, _CAUGHT_UP_S, _PATIENCE_S = 1.0, 0.3, 1.0
_TOLERANCE_CAP_S = 30.0  # what is borne of a camera whose clock is slow: a burst is fresh for so long
_LONGEST_WAIT_S = 2.0
_FRAME_S = 0.04
_BACK_S = 0.5  # by so much the times of some files go back in good order


class FileClock:
    """Plays a file at its own speed, on over gaps in its times and over times that go back."""

    is_skipping = False

    def __init__(self, stopping: threading.Event, fps: float) -> None:
        self._stopping = stopping
        self._frame_s = 1 / fps
        self._next_s = 0.0
        self._began_at_s: float | None = None

    def wait_for(self, time_s: float | None, now_s: float) -> bool:
        """Wait until what has this time in the file is due; False if that is long past."""
        # Some files, as raw .h264, hold no times.
        time_s = self._next_s if time_s is None else time_s
        gone_on_s = time_s - self._next_s + self._frame_s
        self._next_s = time_s + self._frame_s
        if self._began_at_s is None:
            self._began_at_s = now_s - time_s
        elif not -_BACK_S <= gone_on_s <= max(_LONGEST_WAIT_S, 3 * self._frame_s):
            # Two recordings in one file, or a pause of the recorder: what follows is shown one frame later.
            self._began_at_s += self._frame_s - gone_on_s
        early_s = self._began_at_s + time_s - now_s
        if early_s > 0:
            self._stopping.wait(min(early_s, _LONGEST_WAIT_S))
            return True
        return early_s > -_LATE_S


class LiveClock:
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
        """Whether the frame is news; False if newer ones are waiting already."""
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

    def require_pace(self, now_s: float) -> None:
        """Take note that a packet came.

        Raises:
            StreamError: the camera sends too few frames to be of use.
        """
        self._recent.append(now_s)
        if now_s - self._recent[0] < _SLOW_WINDOW_S:
            return
        self._recent = [at_s for at_s in self._recent if now_s - at_s < _SLOW_WINDOW_S]
        if len(self._recent) < _SLOW_FRAMES:
            raise StreamError(f"only {len(self._recent)} frames in {_SLOW_WINDOW_S:g} s: set it to 2 or more a second")
