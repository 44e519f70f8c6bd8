from __future__ import annotations

import numpy as np
import pytest

from models.letterbox import fit, letterbox


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((720, 1280), (192, 320)),
        ((1280, 720), (320, 192)),
        ((480, 640), (256, 320)),
        ((300, 300), (320, 320)),
        ((1, 3000), (32, 320)),
        ((3000, 1), (320, 32)),
        ((1, 1), (320, 320)),
    ],
)
def test_letterbox_has_the_least_padding(shape: tuple[int, int], seen: tuple[int, int]) -> None:
    place = fit(shape, 320)
    assert (place.seen_height, place.seen_width) == seen
    assert (place.height, place.width) == pytest.approx(
        (max(1, shape[0] * 320 / max(shape)), max(1, shape[1] * 320 / max(shape))), abs=0.5
    )


def test_a_picture_lies_in_grey_as_planes_of_red_green_and_blue() -> None:
    image = np.full((180, 320, 3), (0, 51, 255), np.uint8)
    (seen,) = letterbox([image], [fit(image.shape, 320)])
    assert seen.shape == (3, 192, 320)
    assert seen[:, 90, 160] == pytest.approx([1.0, 0.2, 0.0])
    assert seen[:, :6].max() == seen[:, -6:].min() == pytest.approx(114 / 255)


def test_a_box_comes_back_in_fractions_of_the_picture() -> None:
    place = fit((720, 1280), 320)
    inside = np.array([[80.0, 6 + 45.0, 160.0, 90.0]], np.float32)
    outside = np.array([[-50.0, 0.0, 900.0, np.inf]], np.float32)
    assert place.to_fractions(inside)[0] == pytest.approx([0.25, 0.25, 0.75, 0.75])
    assert place.to_fractions(outside)[0] == pytest.approx([0, 0, 1, 1])
