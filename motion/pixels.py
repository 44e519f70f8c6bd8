"""Image operations of the gate, in numpy only: OpenCV would bring its own FFmpeg and BLAS.

Outside the picture nothing is brighter or darker than inside. `tests/motion/test_pixels.py` compares each of them with
the same operation of OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Window = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Connected pixels; corners count."""

    area: int
    window: Window
    mask: Mask
    """Its pixels in that window."""


def blur(picture: Luma) -> Luma:
    """The mean of each pixel and its eight neighbours; mirrored at the edges."""
    height, width = picture.shape
    sums = np.empty((height + 2, width + 2), np.uint16)
    sums[1:-1, 1:-1] = picture
    sums[0], sums[-1] = sums[2], sums[-3]
    sums[:, 0], sums[:, -1] = sums[:, 2], sums[:, -3]
    line = sums.ravel()
    line = line[:-2] + line[1:-1] + line[2:]
    line = line[: -2 * (width + 2)] + line[width + 2 : -(width + 2)] + line[2 * (width + 2) :]
    line += 4
    line //= 9
    return _picture(line.astype(np.uint8), picture.shape, width + 2)


def grown(picture: Luma, side: int) -> Luma:
    """The brightest of the `side` x `side` pixels around each (dilation)."""
    return _extreme(np.maximum, 0, picture, side)


def shrunk(picture: Luma, side: int) -> Luma:
    """The darkest of the `side` x `side` pixels around each (erosion)."""
    return _extreme(np.minimum, 255, picture, side)


def above(picture: Luma, other: Luma) -> Luma:
    """By how much it is brighter, 0 where it is not."""
    difference: Luma = np.maximum(picture, other) - other
    return difference


def brightened(picture: Luma, levels: int) -> Luma:
    """Brighter, or darker, by a number of levels, clipped to 0 to 255."""
    # Against a uniform picture: numpy compares with a single number ten times as slowly.
    if levels < 0:
        return above(picture, np.full_like(picture, -levels))
    brighter: Luma = np.minimum(picture, np.full_like(picture, 255 - levels)) + np.uint8(levels)
    return brighter


def rounded(picture: NDArray[np.float32]) -> Luma:
    """A picture with values in 0 to 255, rounded to whole levels."""
    return np.rint(picture).astype(np.uint8)


def bounds(mask: Mask | Luma) -> Window:
    """The smallest window that holds all pixels that are not 0; its width is 0 if there are none."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return 0, 0, 0, 0
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def patches(mask: Mask, min_px: float) -> list[Patch]:
    """Patches of at least `min_px` pixels, from top to bottom."""
    left, top, width, height = bounds(mask)
    if width * height < max(min_px, 1):
        return []
    part = mask[top : top + height, left : left + width]
    # Runs of adjacent pixels, on one line of all rows: a gap after each row keeps them apart.
    framed = np.zeros((height, width + 1), np.bool_)
    framed[:, :width] = part
    line = framed.ravel()
    edges = np.flatnonzero(line[1:] != line[:-1]) + 1
    if line[0]:
        edges = np.concatenate(([0], edges))
    begins, ends = edges[::2], edges[1::2]
    of = _joined(begins, ends, width + 1)
    lengths = ends - begins
    areas = np.bincount(of, weights=lengths)
    big = np.flatnonzero(areas >= max(min_px, 1))
    if not len(big):
        return []
    numbers = np.zeros(len(line), np.intp)
    numbers[line] = np.repeat(of + 1, lengths)
    numbered = numbers.reshape(height, width + 1)
    found = []
    for number in big:
        runs = np.flatnonzero(of == number)
        first = begins[runs] % (width + 1)
        x, y = int(first.min()), int(begins[runs[0]]) // (width + 1)
        w = int((first + lengths[runs]).max()) - x
        h = int(begins[runs[-1]]) // (width + 1) - y + 1
        own: Mask = numbered[y : y + h, x : x + w] == number + 1
        found.append(Patch(int(areas[number]), (left + x, top + y, w, h), own))
    return found


def filled(shape: tuple[int, int], corners: Sequence[tuple[float, float]]) -> Mask:
    """The pixels inside a polygon of (x, y) in pixels, and those on its edge."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    inside, edge = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], *corners[:1]), strict=True):
        across, down = x2 - x1, y2 - y1
        if down:
            inside ^= ((y1 > y) != (y2 > y)) & (x < x1 + (y - y1) / down * across)
        along = ((x - x1) * across + (y - y1) * down) / max(across**2 + down**2, 1e-9)
        along = np.clip(along, 0, 1)
        edge |= (x - x1 - along * across) ** 2 + (y - y1 - along * down) ** 2 <= 0.25
    return inside | edge


def _extreme(of: np.ufunc, nothing: int, picture: Luma, side: int) -> Luma:
    """The running maximum or minimum: over 1, 2, 4 … pixels of a row and then `side`, then the same over rows.

    All rows are on one line, with margins that keep them apart: row by row, numpy would take five times as long.
    """
    height, width = picture.shape
    reach, stride = side // 2, width + side - 1
    framed = np.full((height + side - 1, stride), nothing, np.uint8)
    framed[reach : reach + height, reach : reach + width] = picture
    line = framed.ravel()
    for step in (1, stride):
        seen = 1
        while 2 * seen <= side:
            line = of(line[: -seen * step], line[seen * step :])
            seen *= 2
        if seen < side:
            rest = (side - seen) * step
            line = of(line[:-rest], line[rest:])
    return _picture(line, picture.shape, stride)


def _picture(line: Luma, shape: tuple[int, ...], stride: int) -> Luma:
    """The rows of a line that ends with the last pixel of the last row."""
    rows = np.empty(shape[0] * stride, np.uint8)
    rows[: len(line)] = line
    return np.ascontiguousarray(rows.reshape(shape[0], stride)[:, : shape[1]])


def _joined(begins: NDArray[np.intp], ends: NDArray[np.intp], stride: int) -> NDArray[np.intp]:
    """For each run, from its begin to before its end, the smallest number of the runs that it is connected with."""
    # The runs of the previous row that touch a run, corners included, are consecutive: from the first that ends no
    # earlier than it begins to the last that begins no later than it ends.
    low = np.searchsorted(ends, begins - stride, "left")
    high = np.searchsorted(begins, ends - stride, "right")
    counts = np.maximum(high - low, 0)
    lower = np.repeat(np.arange(len(begins)), counts)
    upper = np.arange(len(lower)) - np.repeat(np.cumsum(counts) - counts - low, counts)
    of = np.arange(len(begins))
    while len(lower):
        # Each pair takes the smaller of its two numbers, until all pairs agree.
        one, other = of[lower], of[upper]
        apart = one != other
        if not apart.any():
            break
        one, other = one[apart], other[apart]
        np.minimum.at(of, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(of, of[of]):
            of = of[of]
    return of
