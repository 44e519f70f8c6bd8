"""Decodes the raw outputs of a YOLOv8 head: filters cells by score, then decodes boxes for those alone.

`models/network.py` calls it. The network's own decoding is left out, as few of its thousands of cells hold an object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.backends import Floats

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.intp]]

_STRIDES = (8, 16, 32)
"""Strides of the three grids in pixels, in output order."""
_BINS = 16
"""Each side of a box is a distribution over distances of 0, 1, ... 15 cells from the centre of its cell."""


def read_boxes(
    sides: Floats, classes: Floats, seen: tuple[int, int], numbers: Sequence[int], min_confidence: float
) -> tuple[Floats, Floats, Numbers]:
    """The boxes of one picture that reach a confidence, one per cell, overlapping ones included.

    Args:
        sides: from `Backend.infer`, for one picture: shape (64, cells).
        classes: likewise, shape (classes, cells).
        seen: height and width of the network's input, in pixels.
        numbers: the classes to consider; a cell gets the best of them.
        min_confidence: in (0, 1).

    Returns:
        left, top, width, height in pixels, shape (k, 4); confidence, shape (k,); index in `numbers`, shape (k,). A NaN
        score is below every confidence; a box may contain NaN.
    """
    scores = classes[list(numbers)]
    best = scores.max(axis=0)
    kept = np.flatnonzero(best >= math.log(min_confidence / (1 - min_confidence)))
    with np.errstate(over="ignore", invalid="ignore"):
        confidence = 1 / (1 + np.exp(-best[kept]))
        corners = _boxes(sides[:, kept], kept, seen)
    return corners, confidence, scores[:, kept].argmax(axis=0)


def _boxes(sides: Floats, places: Numbers, seen: tuple[int, int]) -> Floats:
    """Shape (64, k) to (k, 4)."""
    likely = sides.reshape(4, _BINS, -1)
    likely = np.exp(likely - likely.max(axis=1, keepdims=True))
    left, top, right, bottom = np.arange(_BINS, dtype=np.float32) @ likely / likely.sum(axis=1)
    x, y, stride = _middles(places, seen)
    return np.stack([x - left * stride, y - top * stride, (left + right) * stride, (top + bottom) * stride], axis=1)


def _middles(places: Numbers, seen: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Centre x, centre y and stride of the cells with these indices, in pixels, each of shape (k,)."""
    ends = np.cumsum([(seen[0] // stride) * (seen[1] // stride) for stride in _STRIDES])
    grid = np.searchsorted(ends, places, side="right")
    stride = np.asarray(_STRIDES)[grid]
    row, column = np.divmod(places - np.concatenate([[0], ends])[grid], seen[1] // stride)
    middles = np.stack([(column + 0.5) * stride, (row + 0.5) * stride, stride]).astype(np.float32)
    return middles[0], middles[1], middles[2]
