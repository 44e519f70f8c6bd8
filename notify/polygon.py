"""Whether a point lies in a polygon: for the areas of targets, and the districts of drawn maps."""

from __future__ import annotations

from collections.abc import Sequence


def is_inside(x: float, y: float, corners: Sequence[tuple[float, float]]) -> bool:
    """Whether a ray from a point crosses the sides of a polygon an odd number of times.

    Args:
        x, y: the point.
        corners: of the polygon in order, as (x, y); the last is joined to the first. No corners enclose nothing.
    """
    inside = False
    for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], *corners[:1]), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside
