"""What is asked of a camera's gate, and what the gate answers for one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from functions.event import Box

Point = tuple[float, float]
Reason = Literal["too small", "seen once", "light", "overlay", "sway", "still"]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What one camera asks of its gate."""

    sensitivity: float = 0.5
    """0 sees only what is big and plain, 1 also what is tiny or faint."""
    masks: tuple[tuple[Point, ...], ...] = ()
    """Polygons in fractions of the frame inside which nothing is looked at."""

    @property
    def floor(self) -> float:
        """Levels of 255 by which a pixel must leave a black background that does not vary: 4 at 0, 0 at 1."""
        return 4.0 - 4.0 * self.sensitivity

    @property
    def weber(self) -> float:
        """What is added to that for each level of the background's brightness: 0.17 at 0, 0.07 at 1."""
        return 0.17 - 0.1 * self.sensitivity

    @property
    def noise_gain(self) -> float:
        """What is added for each level by which the pixel usually differs: 4 at 0, 2 at 1."""
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
    """What the gate made of one picture. Regions come largest first, at most eight of each kind."""

    moving: tuple[Box, ...] = ()
    standing: tuple[Box, ...] = ()
    """Came in not long ago and stands still now."""
    rejected: tuple[Rejected, ...] = ()

    @property
    def regions(self) -> list[Box]:
        """All that is reported: what moves, then what stands."""
        return [*self.moving, *self.standing]

    @property
    def is_uneasy(self) -> bool:
        """Whether anything differs that may yet turn out to be moving."""
        return bool(self.moving or self.standing) or any(r.reason in ("seen once", "still") for r in self.rejected)
