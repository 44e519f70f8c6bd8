"""The second look at a burst: at the part of its frames where something moved, so that distant objects are larger.

The hazard network sees a whole frame at 320 px, where a pistol across the street is two pixels. The motion gate's
region shows where a closer look is worth its time. `detect/worker.py` calls it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import cv2
import numpy as np

from functions import Box, Detection
from models.letterbox import Image

_LEAST_SIDE = 0.35
"""Minimum side of the crop, in fractions of the frame; a smaller region is cropped wider, to show its surroundings."""
_ROOM = 1.2
"""How much wider than the moving region the crop is."""
_MOST_SIDE = 0.8
"""A crop larger than this shows little more than the whole frame."""
_NOISE = 6.0
"""Levels by which a pixel may differ from one frame to the next without a reason."""


def part(moved: Box) -> Box | None:
    """The crop for a closer look: inside the frame, with its aspect ratio, around what moved; None: no closer look."""
    side = max(_LEAST_SIDE, _ROOM * max(moved.x2 - moved.x1, moved.y2 - moved.y1))
    if side > _MOST_SIDE:
        return None
    left, top = (min(max(0.0, middle - side / 2), 1 - side) for middle in moved.center)
    return Box(left, top, min(1.0, left + side), min(1.0, top + side))


def busiest(frames: Sequence[Image]) -> Box | None:
    """Where frames differ most from one to the next: the crop for a closer look if motion covers most of the frame.

    At night a fire lights all that is around it, so that the moving region is the whole frame, but it flickers most
    itself. A change of the whole picture by one amount is light, and does not count.

    Args:
        frames: two or more, BGR, uint8, all of one shape (H, W, 3); about 160 px wide is enough.

    Returns:
        The smallest crop, with the frame's aspect ratio; None if nothing differs.
    """
    greys = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32) for frame in frames]
    steps = [after - before for before, after in itertools.pairwise(greys)]
    change = np.sum([np.abs(step - np.median(step)) for step in steps], axis=0, dtype=np.float32)
    change = np.where(change > _NOISE * len(steps), change, np.float32(0))
    height, width = change.shape
    h, w = math.ceil(_LEAST_SIDE * height), math.ceil(_LEAST_SIDE * width)
    sums = cv2.integral(change)
    within = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    top, left = np.unravel_index(int(within.argmax()), within.shape)
    if within[top, left] <= 0:
        return None
    # In the middle of the crop, as the first of several crops that hold all of it may cut it off.
    rows, columns = np.nonzero(change[top : top + h, left : left + w])
    weights = change[top : top + h, left : left + w][rows, columns]
    x = (left + np.average(columns, weights=weights)) / width - _LEAST_SIDE / 2
    y = (top + np.average(rows, weights=weights)) / height - _LEAST_SIDE / 2
    x, y = (min(max(0.0, float(at)), 1 - _LEAST_SIDE) for at in (x, y))
    return Box(x, y, x + _LEAST_SIDE, y + _LEAST_SIDE)


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
