from __future__ import annotations

import numpy as np
import pytest

from detect.training.augment import EFFECTS, Crop, Image, Paster, watch, zoom


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


def test_a_paster_labels_hazards_and_not_decoys() -> None:
    red, blue = np.full((40, 20, 3), (0, 0, 255), np.uint8), np.full((20, 40, 3), (255, 0, 0), np.uint8)
    paster = Paster([Crop(red, 2), Crop(blue, None)], share=1.0)
    ground = np.full((180, 320, 3), 120, np.uint8)
    numbers, boxes = np.array([[0]], np.float32), np.array([[0.5, 0.5, 0.3, 0.3]], np.float32)
    pasted = decoys = 0
    for seed in range(40):
        image, n, b = paster.paste(ground, numbers, boxes, np.random.default_rng(seed))
        assert len(n) == len(b) >= 1
        assert (ground == 120).all()
        for (number,), (x, y, width, height) in zip(n[1:], b[1:], strict=True):
            pasted += 1
            assert number == 2
            assert 0 <= x - width / 2 <= x + width / 2 <= 1
            assert 0 <= y - height / 2 <= y + height / 2 <= 1
            assert abs(x - 0.5) >= (width + 0.3) / 2 - 1e-4 or abs(y - 0.5) >= (height + 0.3) / 2 - 1e-4
            middle = image[int(y * 180), int(x * 320)].astype(int)
            assert middle[2] > middle[0] + 30
        blues = (image[:, :, 0].astype(int) > image[:, :, 2].astype(int) + 60).any()
        decoys += bool(blues)
    assert pasted > 10
    assert decoys > 10


def test_fire_adds_its_light_to_what_is_behind_it() -> None:
    flame = np.zeros((30, 30, 3), np.uint8)
    flame[10:20, 10:20] = (0, 160, 255)
    paster = Paster([Crop(flame, 1)], share=1.0, glowing=frozenset([1]))
    nothing = np.zeros((0, 1), np.float32), np.zeros((0, 4), np.float32)
    ground = np.full((120, 160, 3), 90, np.uint8)
    image, numbers, _ = paster.paste(ground, *nothing, np.random.default_rng(0))
    assert len(numbers) >= 1
    assert (image >= 89).all()
    assert image[:, :, 2].max() > 230


def test_a_picture_without_room_stays_as_it_is() -> None:
    paster = Paster([Crop(picture(), 1)], share=1.0)
    full = np.array([[0.5, 0.5, 1.0, 1.0]], np.float32)
    image, numbers, boxes = paster.paste(picture(1), np.array([[1]], np.float32), full, np.random.default_rng(0))
    assert (image == picture(1)).all()
    assert (len(numbers), len(boxes)) == (1, 1)


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
