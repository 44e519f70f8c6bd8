"""Makes bursts from a camera's pictures: when to look, what to keep, how often; one `BurstRecorder` for each camera."""

from __future__ import annotations

import math
import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from functions.event import Box, Frame, new_id
from motion.config import Burst, Camera
from motion.frozen import FrozenPicture
from motion.gate import Gate
from motion.look import GateSettings
from motion.picture import Picture
from motion.pixels import Luma

LOOK_S = 0.2
REST_S = 3.0
"""After this long without motion a camera's key frames are enough."""
SETTLING_S = 25.0
"""After opening, a camera is fully decoded for this long, to learn its clocks and swaying things."""
STANDING_INTERVAL_S = 8.0
"""The shortest interval between bursts of something new that stands still."""
_JITTER_S = 0.02  # a frame this much too early is taken, or at 25 a second every wait would last one frame longer
_LEAST_FRAMES = 2  # the detector confirms nothing from a single frame


@dataclass(frozen=True, slots=True)
class CapturedBurst:
    """A burst as the camera's thread hands it over."""

    camera: Camera
    got_at: datetime
    """Capture time of the frame that showed the motion."""
    frames: tuple[Frame, ...]
    moved: Box | None = None
    """The region of the largest motion while they were taken."""
    is_scene: bool = False
    """Without motion: the scene goes to the detector from time to time, as a slowly growing fire never moves."""
    id: str = field(default_factory=new_id)
    """The event's id, the same at every attempt to publish it."""


class BurstPace:
    """Decides when the next burst may begin, and when its next frame is due. Times are seconds on a monotonic clock."""

    def __init__(self, burst: Burst) -> None:
        self._burst = burst
        self._next_burst_at_s = 0.0
        self._next_frame_at_s = 0.0
        self._missing = 0
        self._begun: deque[float] = deque()

    @property
    def is_taking(self) -> bool:
        """Whether a burst is being recorded."""
        return self._missing > 0

    def begin(self, at_s: float) -> bool:
        """Begin a burst with the current frame, if none is being recorded and the camera's limit allows it."""
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
        """Whether the current frame belongs to the burst."""
        if not self.is_taking or at_s < self._next_frame_at_s - _JITTER_S:
            return False
        self._missing -= 1
        self._next_frame_at_s = max(self._next_frame_at_s + self._burst.spacing_s, at_s + self._burst.spacing_s / 2)
        return True

    def abandon(self) -> None:
        """End the current burst with the frames that it has."""
        self._missing = 0


class BurstRecorder:
    """Watches one camera: checks its pictures for motion, and passes each finished burst to `on_burst`.

    It is the `Watcher` of the camera's stream: only key frames are decoded while nothing moves and no burst is due.
    """

    def __init__(
        self,
        camera: Camera,
        on_burst: Callable[[CapturedBurst], None],
        on_frozen: Callable[[bool], None] = lambda is_frozen: None,
    ) -> None:
        """Watch one camera.

        Args:
            camera: its entry in `cameras.yaml`.
            on_burst: receives each finished burst.
            on_frozen: called when the picture freezes, and when it changes again.
        """
        self.camera = camera
        self._on_frozen = on_frozen
        self._frozen = FrozenPicture(camera.frozen_s)
        self._is_frozen = False
        self._on_burst = on_burst
        self._gate = Gate(GateSettings(camera.sensitivity, camera.masks, camera.standing_s))
        self._pace = BurstPace(camera.burst)
        self._frames: list[Frame] = []
        self._moved: Box | None = None
        self._is_scene = False
        self._next_look_at_s = self._looked_at_s = -math.inf
        self._first_at_s: float | None = None
        self._busy_at_s = -math.inf
        self._next_standing_at_s = -math.inf
        # A different phase for each camera, or the detector would get the scenes of a site all at once.
        self._scene_share = zlib.crc32(camera.id.encode()) / 2**32
        self._scene_at_s = math.inf
        self._scene_interval_s = camera.burst.scene_interval_s or math.inf
        # Pictures come from the reading thread; `lost` may be called by a thread that replaces it.
        self._lock = threading.Lock()

    def add_picture(self, picture: Picture) -> None:
        """Process the next picture; called for every frame, so it converts only the frames that it needs."""
        self.look(picture)
        self.take(picture)

    def look(self, picture: Picture) -> None:
        """Check for motion, about five times a second, and begin a burst if there is some."""
        at_s = picture.at_s
        with self._lock:
            if at_s < self._next_look_at_s - _JITTER_S or at_s < self._looked_at_s:
                return
            self._next_look_at_s = max(self._next_look_at_s + LOOK_S, at_s + LOOK_S / 2)
            self._looked_at_s = at_s
            self._begin_scenes(at_s)
            luma = picture.luma()
            self._report_frozen(luma, at_s)
            look = self._gate.look(luma, at_s)
            if look.is_uneasy or self._gate.is_calibrating:
                self._busy_at_s = at_s
            is_due = bool(look.moving) or (bool(look.standing) and at_s >= self._next_standing_at_s)
            if is_due and self._pace.begin(at_s):
                self._moved, self._is_scene = None, False
                self._next_standing_at_s = at_s + max(STANDING_INTERVAL_S, self.camera.burst.interval_s)
                self._scene_at_s = at_s + self._scene_interval_s
            elif at_s >= self._scene_at_s and self._pace.begin(at_s):
                self._moved, self._is_scene = None, True
                self._scene_at_s = at_s + self._scene_interval_s
            if look.regions and self._pace.is_taking:
                self._moved = followed(self._moved, look.regions)

    def take(self, picture: Picture) -> None:
        """Keep the picture if it belongs to the current burst."""
        with self._lock:
            if self._pace.take(picture.at_s):
                jpeg = self.camera.jpeg
                self._frames.append(Frame(picture.jpeg(jpeg.width, jpeg.quality), picture.captured_at))
                if not self._pace.is_taking:
                    self._finish()

    @property
    def is_taking(self) -> bool:
        """Whether a burst is being recorded."""
        with self._lock:
            return self._pace.is_taking

    def suspects(self, picture: Picture) -> bool:
        """Check a key frame while nothing else is decoded."""
        with self._lock:
            self._looked_at_s = max(self._looked_at_s, picture.at_s)
            luma = picture.luma()
            self._report_frozen(luma, picture.at_s)
            uneasy = self._gate.glance(luma, picture.at_s)
            if uneasy:
                self._busy_at_s = picture.at_s
                self._looked_at_s = -math.inf  # the pictures that led to it are decoded now
            return uneasy

    def wants(self, at_s: float) -> bool:
        """Whether a burst is being recorded or due, whatever the camera shows."""
        with self._lock:
            return self._pace.is_taking or at_s >= self._scene_at_s

    def may_rest(self, at_s: float) -> bool:
        """Whether nothing has moved for a while, and the background has been learned."""
        with self._lock:
            is_settled = self._first_at_s is not None and at_s - self._first_at_s >= SETTLING_S
            return is_settled and not self._pace.is_taking and at_s - self._busy_at_s >= REST_S

    def lost(self) -> None:
        """The camera was lost: send the frames of the current burst."""
        with self._lock:
            self._pace.abandon()
            if len(self._frames) >= _LEAST_FRAMES:
                self._finish()
            self._frames = []
            self._first_at_s = None

    def _report_frozen(self, luma: Luma, at_s: float) -> None:
        is_frozen = self._frozen.update(luma, at_s)
        if is_frozen != self._is_frozen:
            self._is_frozen = is_frozen
            self._on_frozen(is_frozen)

    def _begin_scenes(self, at_s: float) -> None:
        if self._first_at_s is None:
            self._first_at_s = at_s
            self._scene_at_s = at_s + self._scene_interval_s * (0.5 + self._scene_share / 2)

    def _finish(self) -> None:
        frames, self._frames = tuple(self._frames), []
        moved = None if self._is_scene else self._moved
        self._on_burst(CapturedBurst(self.camera, frames[0].captured_at, frames, moved, self._is_scene))


def followed(moved: Box | None, regions: Sequence[Box]) -> Box:
    """Follow a moving thing: a region that touches its place at the next look is the same thing.

    Args:
        moved: its region so far; None at the first look, where it is the largest region.
        regions: the moving regions of this look, largest first; at least one.
    """
    if moved is None:
        return regions[0]
    for region in regions:
        if moved.iou(region) > 0:
            moved = moved.around(region)
    return moved
