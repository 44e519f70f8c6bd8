"""Boxes in a frame, the same at every resolution; every room measures with these."""

from __future__ import annotations

from msgspec import Struct


class Box(Struct, frozen=True, array_like=True):
    """Rectangle in fractions [0, 1] of its frame, origin top-left, x1 <= x2 and y1 <= y2."""

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        # NaN fails every comparison, so it is refused here too.
        if not (0 <= self.x1 <= self.x2 <= 1 and 0 <= self.y1 <= self.y2 <= 1):
            raise ValueError(
                f"box must have 0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1, got "
                f"({self.x1}, {self.y1}, {self.x2}, {self.y2})"
            )

    @property
    def area(self) -> float:
        """Share of the frame that the box covers."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the box as (x, y)."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union with `other`, 0 if they do not touch."""
        shared = self.shared(other)
        return shared / (self.area + other.area - shared) if shared else 0.0

    def shared(self, other: Box) -> float:
        """The intersection's area, as a share of the frame."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        return width * height if width > 0 and height > 0 else 0.0

    def grown(self, times: float) -> Box:
        """A box `factor` times as wide and high with the same centre, clipped to the frame."""
        (x, y), across, down = self.center, times * (self.x2 - self.x1) / 2, times * (self.y2 - self.y1) / 2
        return Box(max(0.0, x - across), max(0.0, y - down), min(1.0, x + across), min(1.0, y + down))

    def around(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(min(self.x1, other.x1), min(self.y1, other.y1), max(self.x2, other.x2), max(self.y2, other.y2))
