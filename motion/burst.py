"""From the pictures of one camera to bursts: when to look, what to keep, how often; the worker holds one per camera."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from functions.event import Box, Frame, new_id
from motion.config import Burst, Camera
from motion.gate import Gate, GateSettings
from motion.stream import Picture

LOOK_S = 0.2
_JITTER_S = 0.02  # a frame that comes so much early is taken, or at 25 a second every wait would last one frame more
_LEAST_FRAMES = 2  # the detector believes nothing that it sees once


@dataclass(frozen=True, slots=True)
class CapturedBurst:
    """A burst as it leaves the camera's thread."""

    camera: Camera
    got_at: datetime
    """When the frame that showed the motion was captured."""
    frames: tuple[Frame, ...]
    moved: Box | None = None
    """Where the largest thing moved while they were taken."""
    id: str = field(default_factory=new_id)
    """Of the event, the same however often it takes to publish it."""


class BurstPace:
    """Decides when the next burst may begin, and when its next frame is due. Times are seconds on one steady clock."""

    def __init__(self, burst: Burst) -> None:
        self._burst = burst
        self._next_burst_at_s = 0.0
        self._next_frame_at_s = 0.0
        self._missing = 0
        self._begun: deque[float] = deque()

    @property
    def is_taking(self) -> bool:
        """Whether a burst is under way."""
        return self._missing > 0

    def begin(self, at_s: float) -> bool:
        """Begin a burst with the frame of this moment, if none is under way and the camera has not had its share."""
        while self._begun and at_s - self._begun[0] >= 60:
            self._begun.popleft()
        if self.is_taking or at_s < self._next_burst_at_s or len(self._begun) >= self._burst.max_per_minute:
            return False
        self._begun.append(at_s)
        self._next_burst_at_s = at_s + self._burst.interval_s
        self._next_frame_at_s = at_s
        self._missing = self._burst.frames
        return True

    def take(self, at_s: float) -> bool:
        """Whether the frame of this moment is one of the burst."""
        if not self.is_taking or at_s < self._next_frame_at_s - _JITTER_S:
            return False
        self._missing -= 1
        self._next_frame_at_s = max(self._next_frame_at_s + self._burst.spacing_s, at_s + self._burst.spacing_s / 2)
        return True

    def abandon(self) -> None:
        """End the burst under way with what it has."""
        self._missing = 0


class BurstRecorder:
    """Watches one camera: looks at its pictures, and hands each finished burst to `on_burst`."""

    def __init__(self, camera: Camera, on_burst: Callable[[CapturedBurst], None]) -> None:
        self.camera = camera
        self._on_burst = on_burst
        self._gate = Gate(GateSettings(camera.sensitivity, camera.masks))
        self._pace = BurstPace(camera.burst)
        self._frames: list[Frame] = []
        self._moved: Box | None = None
        self._next_look_at_s = 0.0
        # Pictures come from the reading thread, `lost` may come from another that replaces it.
        self._lock = threading.Lock()

    def see(self, picture: Picture) -> None:
        """Take the next picture; called for every frame, so it converts only what is asked for."""
        with self._lock:
            if picture.at_s >= self._next_look_at_s - _JITTER_S:
                self._next_look_at_s = max(self._next_look_at_s + LOOK_S, picture.at_s + LOOK_S / 2)
                regions = self._gate.see(picture.luma(), picture.at_s)
                if regions and self._pace.begin(picture.at_s):
                    self._moved = None
                if regions and self._pace.is_taking:
                    self._moved = followed(self._moved, regions)
            if self._pace.take(picture.at_s):
                jpeg = self.camera.jpeg
                self._frames.append(Frame(picture.jpeg(jpeg.width, jpeg.quality), picture.captured_at))
                if not self._pace.is_taking:
                    self._finish()

    def lost(self) -> None:
        """The camera went away: send what there is of a burst under way."""
        with self._lock:
            self._pace.abandon()
            if len(self._frames) >= _LEAST_FRAMES:
                self._finish()
            self._frames = []

    def _finish(self) -> None:
        frames, self._frames = tuple(self._frames), []
        self._on_burst(CapturedBurst(self.camera, frames[0].captured_at, frames, self._moved))


def followed(moved: Box | None, regions: Sequence[Box]) -> Box:
    """Where the thing that moved has been by now: what touches its place at the next look is the same thing, gone on.

    Args:
        moved: where it has been; None at the first look, whose largest region it is.
        regions: what moves at this look, largest first; at least one.
    """
    if moved is None:
        return regions[0]
    for region in regions:
        if moved.iou(region) > 0:
            moved = moved.around(region)
    return moved
