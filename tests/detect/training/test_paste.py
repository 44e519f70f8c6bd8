from __future__ import annotations

import numpy as np

from detect.training.augment import Image
from detect.training.paste import Crop, Paster
from functions import Box

NOTHING = np.zeros((0, 1), np.float32), np.zeros((0, 4), np.float32)
PERSON = Box(0.4, 0.2, 0.6, 0.8)


def picture(seed: int = 0, height: int = 90, width: int = 160) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_a_paster_labels_hazards_and_not_decoys() -> None:
    red, blue = np.full((40, 20, 3), (0, 0, 255), np.uint8), np.full((20, 40, 3), (255, 0, 0), np.uint8)
    paster = Paster([Crop(red, 2), Crop(blue, None)], share=1.0)
    ground = np.full((180, 320, 3), (110, 120, 130), np.uint8)
    numbers, boxes = np.array([[0]], np.float32), np.array([[0.5, 0.5, 0.3, 0.3]], np.float32)
    pasted = decoys = 0
    for seed in range(40):
        image, n, b = paster.paste(ground, numbers, boxes, np.random.default_rng(seed))
        assert len(n) == len(b) >= 1
        assert (ground == (110, 120, 130)).all()
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
    ground = np.full((120, 160, 3), (80, 90, 100), np.uint8)
    image, numbers, _ = paster.paste(ground, *nothing, np.random.default_rng(0))
    assert len(numbers) >= 1
    assert (image >= 79).all()
    assert image[:, :, 2].max() > 230


def test_a_picture_without_room_stays_as_it_is() -> None:
    paster = Paster([Crop(picture(), 1)], share=1.0)
    full = np.array([[0.5, 0.5, 1.0, 1.0]], np.float32)
    image, numbers, boxes = paster.paste(picture(1), np.array([[1]], np.float32), full, np.random.default_rng(0))
    assert (image == picture(1)).all()
    assert (len(numbers), len(boxes)) == (1, 1)


def test_weapons_are_pasted_into_hands_and_labelled() -> None:
    red, blue = np.full((20, 40, 3), (0, 0, 255), np.uint8), np.full((20, 40, 3), (255, 0, 0), np.uint8)
    flame = np.full((20, 40, 3), (0, 160, 255), np.uint8)
    paster = Paster([Crop(red, 2), Crop(flame, 1), Crop(blue, None)], share=0.0)
    ground = np.full((360, 640, 3), (100, 120, 140), np.uint8)
    armed = 0
    for seed in range(40):
        image, n, b = paster.arm(ground, *NOTHING, [PERSON], np.random.default_rng(seed))
        assert (ground == (100, 120, 140)).all()
        assert (image != ground).any(), "a weapon or a decoy"
        assert set(n.ravel()) <= {2}, "flames are not held"
        for x, y, w, h in b:
            armed += 1
            assert 0.09 * 216 <= max(w * 640, h * 360) <= 0.26 * 216
            assert 0.3 < x < 0.7
            assert 0.3 < y < 0.65
    assert 10 < armed < 30


def test_a_person_who_is_labelled_all_over_gets_nothing() -> None:
    paster = Paster([Crop(picture(), 2)], share=0.0)
    accident = np.array([[0]], np.float32), np.array([[0.5, 0.5, 0.9, 0.9]], np.float32)
    image, n, _ = paster.arm(picture(1), *accident, [PERSON], np.random.default_rng(0))
    assert (image == picture(1)).all()
    assert len(n) == 1


def test_a_weapon_too_small_to_see_is_not_pasted() -> None:
    paster = Paster([Crop(picture(), 2)], share=0.0)
    image, n, _ = paster.arm(picture(1), *NOTHING, [Box(0.5, 0.5, 0.52, 0.6)], np.random.default_rng(0))
    assert (image == picture(1)).all()
    assert not len(n)


def test_what_is_pasted_into_a_grey_picture_is_grey() -> None:
    paster = Paster([Crop(np.full((40, 40, 3), (0, 0, 255), np.uint8), 2)], share=1.0)
    ground = np.full((180, 320, 3), 120, np.uint8)
    image, n, _ = paster.paste(ground, *NOTHING, np.random.default_rng(0))
    assert len(n)
    assert (image[:, :, 0] == image[:, :, 2]).all()
