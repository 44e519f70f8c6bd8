"""The second look at a burst: at the part of its frames where something moved, so that distant objects are larger.

The hazard network sees a whole frame at 320 px, where a pistol across the street is two pixels. The motion gate's
region shows where a closer look is worth its time. `detect/worker.py` calls it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from functions import Box, Detection
from models.letterbox import Image

_LEAST_SIDE = 0.35
"""Minimum side of the crop, in fractions of the frame; a smaller region is cropped wider, to show its surroundings."""
_ROOM = 1.2
"""How much wider than the moving region the crop is."""
_MOST_SIDE = 0.8
"""A crop larger than this shows little more than the whole frame."""


def part(moved: Box) -> Box | None:
    """The crop for a closer look: inside the frame, with its aspect ratio, around what moved; None: no closer look."""
    side = max(_LEAST_SIDE, _ROOM * max(moved.x2 - moved.x1, moved.y2 - moved.y1))
    if side > _MOST_SIDE:
        return None
    left, top = (min(max(0.0, middle - side / 2), 1 - side) for middle in moved.center)
    return Box(left, top, min(1.0, left + side), min(1.0, top + side))


def cut(image: Image, where: Box) -> Image:
    """Crop a picture, as a view of it; at least one pixel."""
    height, width = image.shape[:2]
    left, top = min(width - 1, int(where.x1 * width)), min(height - 1, int(where.y1 * height))
    return image[top : max(top + 1, math.ceil(where.y2 * height)), left : max(left + 1, math.ceil(where.x2 * width))]


def keep_overlapping(found: Sequence[Detection], where: Box, moved: Box) -> list[Detection]:
    """Detections in a crop that touch the moving region, in fractions of the whole frame.

    The others did not move, and enlarged like this a planter can look like anything.
    """
    return [d for d in (placed(each, where) for each in found) if d.box.iou(moved) > 0]


def placed(found: Detection, where: Box) -> Detection:
    """Detections in a crop, in fractions of the whole frame."""
    width, height, box = where.x2 - where.x1, where.y2 - where.y1, found.box
    x1, x2 = (min(1.0, where.x1 + x * width) for x in (box.x1, box.x2))
    y1, y2 = (min(1.0, where.y1 + y * height) for y in (box.y1, box.y2))
    return Detection(found.label, found.confidence, Box(x1, y1, x2, y2))
