"""The settings of a camera's gate, and its result for one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from functions.event import Box

Point = tuple[float, float]
Reason = Literal["too small", "seen once", "light", "overlay", "sway", "still"]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """The gate's settings for one camera."""

    sensitivity: float = 0.5
    """0 reports only what is large and clear, 1 also what is tiny or faint."""
    masks: tuple[tuple[Point, ...], ...] = ()
    """Polygons in fractions of the frame, inside which motion is ignored."""
    standing_s: float = 20.0
    """How long something new that stands still is reported; then it is part of the scene."""

    @property
    def floor(self) -> float:
        """Levels of 255 by which a pixel must differ from a black background that does not vary: 4 at 0, 0 at 1."""
        return 4.0 - 4.0 * self.sensitivity

    @property
    def weber(self) -> float:
        """Added to that for each level of the background's brightness: 0.17 at 0, 0.07 at 1."""
        return 0.17 - 0.1 * self.sensitivity

    @property
    def noise_gain(self) -> float:
        """Added for each level by which the pixel usually differs: 4 at 0, 2 at 1."""
        return 4.0 - 2.0 * self.sensitivity

    @property
    def min_area(self) -> float:
        """Share of the frame that a region must cover: 0.4 % at 0, 0.1 % in the middle, 0.025 % at 1."""
        return float(0.004 * math.pow(16.0, -self.sensitivity))


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that differed from the background and was not reported."""

    box: Box
    reason: Reason


@dataclass(frozen=True, slots=True)
class Look:
    """The gate's result for one picture. Regions are sorted, largest first; at most eight of each kind."""

    moving: tuple[Box, ...] = ()
    standing: tuple[Box, ...] = ()
    """New in the scene, and standing still now."""
    rejected: tuple[Rejected, ...] = ()

    @property
    def regions(self) -> list[Box]:
        """All reported regions: those that move, then those that stand."""
        return [*self.moving, *self.standing]

    @property
    def is_uneasy(self) -> bool:
        """Whether any region differs that may still turn out to be moving."""
        return bool(self.moving or self.standing) or any(r.reason in ("seen once", "still") for r in self.rejected)
