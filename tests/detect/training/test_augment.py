from __future__ import annotations

import numpy as np
import pytest

from detect.training.augment import EFFECTS, Image, watch, zoom, zoom_on_person
from functions import Box


def picture(seed: int = 0, height: int = 90, width: int = 160) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("name", EFFECTS)
def test_effect_keeps_shape_and_original(name: str) -> None:
    image = picture()
    before = image.copy()
    after = EFFECTS[name][1](image, np.random.default_rng(1))
    assert (after.shape, after.dtype) == (image.shape, np.uint8)
    assert (image == before).all()
    assert (after != before).any()


@pytest.mark.parametrize("shape", [(1, 1), (9, 300), (300, 9)])
@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_takes_a_picture_of_any_size(name: str, shape: tuple[int, int]) -> None:
    assert EFFECTS[name][1](picture(0, *shape), np.random.default_rng(0)).shape == (*shape, 3)


def test_the_same_chance_gives_the_same_picture() -> None:
    first, second = (watch(picture(), np.random.default_rng(5)) for _ in range(2))
    assert (first == second).all()


def test_an_effect_can_be_left_out() -> None:
    image = picture()
    assert all((watch(image, np.random.default_rng(i), tuple(EFFECTS)) == image).all() for i in range(20))


def test_a_zoom_shows_a_part_and_keeps_its_labels_in_place() -> None:
    ground = np.full((360, 640, 3), 90, np.uint8)
    ground[180:216, 320:384] = (0, 0, 255)
    numbers, boxes = (
        np.array([[1], [0]], np.float32),
        np.array([[0.55, 0.55, 0.1, 0.1], [0.1, 0.9, 0.1, 0.1]], np.float32),
    )
    shown = 0
    for seed in range(60):
        part, n, b = zoom(ground, numbers, boxes, np.random.default_rng(seed))
        height, width = part.shape[:2]
        assert len(n) == len(b) <= 2
        assert width < 640 or len(n) == 2
        for (number,), (x, y, w, h) in zip(n, b, strict=True):
            if number == 1:
                shown += 1
                inside = part[int((y - h / 2) * height) + 1 : int((y + h / 2) * height) - 1]
                inside = inside[:, int((x - w / 2) * width) + 1 : int((x + w / 2) * width) - 1]
                assert (inside == (0, 0, 255)).all()
        red = int((part[:, :, 2] == 255).sum())
        assert red >= 0.75 * 36 * 64 or red <= 0.25 * 36 * 64, "no flame is cut in two"
        assert (1 in n) == (red >= 0.75 * 36 * 64)
    assert shown > 20


def test_zoom_never_cuts_a_label() -> None:
    image, numbers, boxes = picture(), np.array([[0]], np.float32), np.array([[0.5, 0.5, 1, 1]], np.float32)
    for seed in range(20):
        part, n, b = zoom(image, numbers, boxes, np.random.default_rng(seed))
        assert part.shape == image.shape or len(n) == 0
        assert part.shape != image.shape or (b == boxes).all()


def test_zoom_on_person_keeps_the_person_and_its_labels() -> None:
    ground = np.full((360, 640, 3), 90, np.uint8)
    ground[144:216, 320:352] = (0, 0, 255)
    gun = np.array([[2]], np.float32), np.array([[0.525, 0.5, 0.05, 0.2]], np.float32)
    person = Box(0.4, 0.3, 0.6, 0.7)
    for seed in range(20):
        part, n, b = zoom_on_person(ground, *gun, person, np.random.default_rng(seed))
        height, width = part.shape[:2]
        assert 0.25 * 640 <= width <= 0.41 * 640
        ((number,),), ((x, y, w, h),) = n, b
        assert number == 2
        inside = part[int((y - h / 2) * height) + 1 : int((y + h / 2) * height) - 1]
        inside = inside[:, int((x - w / 2) * width) + 1 : int((x + w / 2) * width) - 1]
        assert (inside == (0, 0, 255)).all()


def test_zoom_on_person_of_few_pixels_returns_all() -> None:
    nothing = np.zeros((0, 1), np.float32), np.zeros((0, 4), np.float32)
    part, _, _ = zoom_on_person(picture(), *nothing, Box(0.5, 0.5, 0.55, 0.6), np.random.default_rng(0))
    assert part.shape == picture().shape
