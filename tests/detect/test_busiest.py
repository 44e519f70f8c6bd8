"""Where frames differ most, for a closer look when motion covers most of the frame."""

from __future__ import annotations

import numpy as np
import pytest

from detect.zoom import busiest
from models.letterbox import Image


def scene(light: int, flame: int | None = None) -> Image:
    """A night street of 160x90, lit as a whole, with a flame of some brightness at the right."""
    rng = np.random.default_rng(0)
    image = rng.integers(10, 60, (90, 160, 3)).astype(np.int16) + light
    if flame is not None:
        image[50:62, 120:130] += flame
    return image.clip(0, 255).astype(np.uint8)


def test_flicker_is_found_though_all_is_lit() -> None:
    where = busiest([scene(0, 60), scene(25, 150), scene(5, 90), scene(30, 180)])
    assert where is not None
    assert where.x1 <= 120 / 160 and where.x2 >= 130 / 160
    assert where.y1 <= 50 / 90 and where.y2 >= 62 / 90
    assert where.x2 - where.x1 == pytest.approx(0.35)


def test_light_alone_is_no_place() -> None:
    assert busiest([scene(0), scene(40), scene(10), scene(50)]) is None


def test_crop_stays_within_the_frame() -> None:
    frames = [scene(0) for _ in range(3)]
    frames[1][:6, :6] = 255
    where = busiest(frames)
    assert where is not None and 0 <= where.x1 < where.x2 <= 1 and 0 <= where.y1 < where.y2 <= 1
