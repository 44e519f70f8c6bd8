"""Our operations on small pictures against OpenCV's, which the gate was made with."""

from __future__ import annotations

from typing import Any

import cv2 as opencv
import numpy as np
import pytest
from numpy.typing import NDArray

from motion import pixels

cv2: Any = opencv  # its stubs know neither element types nor scalar operands
SHAPES = [(180, 320), (24, 37), (135, 240)]


def pictures(shape: tuple[int, int], count: int = 10) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]


def masks(shape: tuple[int, int]) -> list[NDArray[np.bool_]]:
    """From nothing over specks and blots to everything."""
    rng = np.random.default_rng(4)
    found = [rng.random(shape) < share for share in (0, 0.01, 0.05, 0.2, 0.4, 0.5, 0.7, 1)]
    blots = [cv2.dilate(mask.astype(np.uint8), np.ones((3, 5), np.uint8)) > 0 for mask in found]
    spiral = np.zeros(shape, np.bool_)
    for i in range(0, min(shape) // 2, 4):
        spiral[i : shape[0] - i, i] = spiral[i, i : shape[1] - i] = True
        spiral[shape[0] - i - 1, i : shape[1] - i] = spiral[i + 4 : shape[0] - i, shape[1] - i - 1] = True
    return [*found, *blots, spiral]


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_is_the_mean_of_nine(shape: tuple[int, int]) -> None:
    for picture in pictures(shape):
        assert np.array_equal(pixels.blur(picture), cv2.blur(picture, (3, 3)))
        assert np.array_equal(pixels.blur(picture[::2, ::2]), cv2.blur(np.ascontiguousarray(picture[::2, ::2]), (3, 3)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [1, 3, 5, 7, 9, 15])
def test_grown_and_shrunk_are_dilate_and_erode(shape: tuple[int, int], side: int) -> None:
    kernel = np.ones((side, side), np.uint8)
    for picture in pictures(shape):
        assert np.array_equal(pixels.grown(picture, side), cv2.dilate(picture, kernel))
        assert np.array_equal(pixels.shrunk(picture, side), cv2.erode(picture, kernel))


def test_levels_saturate() -> None:
    one, other = pictures((24, 37), 2)
    assert np.array_equal(pixels.above(one, other), cv2.subtract(one, other))
    for levels in (-255, -40, 0, 1, 40, 255):
        wanted = np.clip(one.astype(int) + levels, 0, 255)
        assert np.array_equal(pixels.brightened(one, levels), wanted)
    fine = np.random.default_rng(5).uniform(0, 255, (24, 37)).astype(np.float32)
    fine[0, :3] = 0.5, 1.5, 255
    assert np.array_equal(pixels.rounded(fine), cv2.convertScaleAbs(fine))


@pytest.mark.parametrize("shape", SHAPES)
def test_patches_are_connected_components(shape: tuple[int, int]) -> None:
    for mask in masks(shape):
        assert pixels.bounds(mask) == cv2.boundingRect(mask.astype(np.uint8))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        for least in (1, 4, 30):
            found = {(p.window, p.area, p.mask.tobytes()) for p in pixels.patches(mask, least)}
            wanted = set()
            for label in range(1, count):
                x, y, w, h, area = (int(value) for value in stats[label])
                if area >= least:
                    wanted.add(((x, y, w, h), area, (labels[y : y + h, x : x + w] == label).tobytes()))
            assert found == wanted


@pytest.mark.parametrize(
    "corners",
    [
        [(3, 2), (30, 2), (30, 20), (3, 20)],
        [(0, 0), (36, 5), (20, 23)],
        [(-10, 12), (18, -10), (60, 12), (18, 40)],
        [(5, 5), (30, 20), (30, 5), (5, 20)],  # crosses itself
        [(4, 4), (30, 4), (17, 10), (30, 20), (4, 20)],  # not convex
    ],
)
def test_filled_polygon_is_a_pixel_off_at_most(corners: list[tuple[int, int]]) -> None:
    picture = np.zeros((24, 37), np.uint8)
    cv2.fillPoly(picture, [np.array(corners, np.int32)], 1)
    found = pixels.filled((24, 37), corners)
    kernel = np.ones((3, 3), np.uint8)
    assert np.all(found <= (cv2.dilate(picture, kernel) > 0))
    assert np.all(found >= (cv2.erode(picture, kernel) > 0))
    assert np.mean(found != (picture > 0)) < 0.02
