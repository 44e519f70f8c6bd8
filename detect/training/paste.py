"""Pastes hazards into training pictures that show none: anywhere, or into the hands of people.

Plain numpy and OpenCV on BGR uint8 pictures, so it is tested without torch. All randomness comes from the generator
given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from detect.training.augment import Boxes, Image, Rng
from detect.training.corpus import LABELS, UNKNOWN_WEAPON, WEAPONS
from functions import Box

_HELD = frozenset(number for number, label in enumerate(LABELS) if label in WEAPONS or label == UNKNOWN_WEAPON)
_COLOURLESS = 4.0
"""Mean difference between the channels of a grey picture, in levels of 255, at most."""
_LEAST_PX = 5
"""A smaller weapon in a hand cannot be recognized, and no label may ask for it."""

_Place = tuple[int, int, int, int]
"""Left, top, width and height in px."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A piece of a picture with its class number, or None for a decoy."""

    image: Image
    number: int | None


@dataclass
class Paster:
    """Pastes hazards, and as many decoys, into pictures.

    A decoy is an ordinary piece of a picture, cut and blended in the same way: without decoys a network learns to find
    the seams.

    Attributes:
        crops: the pieces to paste.
        share: the share of the pictures that get something pasted.
        glowing: class numbers of light sources, which are added to the background.
    """

    crops: Sequence[Crop]
    share: float
    glowing: frozenset[int] = frozenset()
    _decoys: list[int] = field(init=False, repr=False)
    _hazards: list[int] = field(init=False, repr=False)
    _held: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._decoys = [i for i, crop in enumerate(self.crops) if crop.number is None]
        self._hazards = [i for i, crop in enumerate(self.crops) if crop.number is not None]
        self._held = [i for i in self._hazards if self.crops[i].number in _HELD]

    def paste(self, image: Image, numbers: Boxes, boxes: Boxes, rng: Rng) -> tuple[Image, Boxes, Boxes]:
        """A copy of a picture with at most two pieces pasted outside its labelled boxes, and all labels.

        Args:
            image: BGR, uint8, shape (H, W, 3); not changed.
            numbers: class numbers, shape (n, 1).
            boxes: centre x, centre y, width, height in fractions of the picture, shape (n, 4).
            rng: makes the choices.
        """
        if not self._hazards or rng.random() >= self.share:
            return image, numbers, boxes
        canvas = _Canvas(image.copy(), numbers, boxes)
        for _ in range(int(rng.integers(1, 3))):
            piece = self._drawn(self._hazards, rng)
            if at := _anywhere(canvas.image.shape, piece.image.shape, canvas.taken, rng):
                canvas.add(piece, at, piece.number in self.glowing, rng)
        return canvas.image, canvas.numbers, canvas.boxes

    def arm(
        self, image: Image, numbers: Boxes, boxes: Boxes, people: Sequence[Box], rng: Rng
    ) -> tuple[Image, Boxes, Boxes]:
        """A copy of a picture with a weapon, or a decoy, where one or two of its people have their hands.

        Arguments and results are those of `paste`; `people` are in fractions of the picture.
        """
        if not self._held or not people:
            return image, numbers, boxes
        canvas = _Canvas(image.copy(), numbers, boxes)
        for i in rng.permutation(len(people))[: int(rng.integers(1, 3))].tolist():
            piece = self._drawn(self._held, rng)
            if at := _in_a_hand(canvas.image.shape, piece.image.shape, people[i], canvas.taken, rng):
                canvas.add(piece, at, False, rng)
        return canvas.image, canvas.numbers, canvas.boxes

    def _drawn(self, hazards: Sequence[int], rng: Rng) -> Crop:
        pool = self._decoys if self._decoys and rng.random() < 0.5 else hazards
        return self.crops[pool[int(rng.integers(len(pool)))]]


@dataclass
class _Canvas:
    """A picture that is pasted into, its labels, and what is taken: the labels and what was pasted."""

    image: Image
    numbers: Boxes
    boxes: Boxes
    taken: Boxes = field(init=False)

    def __post_init__(self) -> None:
        self.taken = self.boxes

    def add(self, piece: Crop, at: _Place, is_glowing: bool, rng: Rng) -> None:
        _blend(self.image, piece, at, is_glowing, rng)
        x, y, width, height = at
        row = np.array([[x + width / 2, y + height / 2, width, height]], np.float32)
        row /= np.tile(self.image.shape[1::-1], 2).astype(np.float32)
        self.taken = np.concatenate([self.taken, row])
        if piece.number is not None:
            self.numbers = np.concatenate([self.numbers, np.array([[piece.number]], np.float32)])
            self.boxes = np.concatenate([self.boxes, row])


def _anywhere(shape: tuple[int, ...], crop: tuple[int, ...], boxes: Boxes, rng: Rng) -> _Place | None:
    """Where to paste: small, as objects are from a camera, and not over a label."""
    height, width = shape[:2]
    w, h = _scaled(crop, rng.uniform(0.06, 0.30) * max(height, width))
    if w >= width or h >= height:
        return None
    for _ in range(8):
        at = int(rng.integers(width - w)), int(rng.integers(height - h)), w, h
        if _is_free(shape, at, boxes):
            return at
    return None


def _in_a_hand(shape: tuple[int, ...], crop: tuple[int, ...], person: Box, boxes: Boxes, rng: Rng) -> _Place | None:
    """Where to paste at a person: left or right of the middle, between chest and knee, a tenth to a quarter as long.

    A pistol has an eighth of a person's height, a kitchen knife a sixth; people whose legs are hidden seem shorter.
    """
    height, width = shape[:2]
    tall, wide = (person.y2 - person.y1) * height, (person.x2 - person.x1) * width
    w, h = _scaled(crop, rng.uniform(0.10, 0.25) * tall)
    if max(w, h) < _LEAST_PX or w >= width or h >= height:
        return None
    for _ in range(8):
        x = person.center[0] * width + float(rng.choice([-1, 1])) * rng.uniform(0.1, 0.6) * wide - w / 2
        y = person.y1 * height + rng.uniform(0.25, 0.65) * tall - h / 2
        at = int(min(max(x, 0), width - w)), int(min(max(y, 0), height - h)), w, h
        if _is_free(shape, at, boxes):
            return at
    return None


def _scaled(crop: tuple[int, ...], longer: float) -> tuple[int, int]:
    """Width and height in px of a crop of that shape whose longer side gets this length."""
    scale = longer / max(crop[:2])
    return max(4, round(crop[1] * scale)), max(4, round(crop[0] * scale))


def _is_free(shape: tuple[int, ...], at: _Place, boxes: Boxes) -> bool:
    height, width = shape[:2]
    x, y, w, h = at
    centers, sizes = boxes[:, :2] * (width, height), boxes[:, 2:] * (width, height)
    apart = np.abs(centers - (x + w / 2, y + h / 2)) >= (sizes + np.array([w, h])) / 2
    return bool(apart.any(axis=1).all())


def _blend(image: Image, crop: Crop, at: _Place, glowing: bool, rng: Rng) -> None:
    x, y, width, height = at
    piece = cv2.resize(crop.image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    behind = image[y : y + height, x : x + width].astype(np.float32)
    if _is_grey(image):
        piece = np.repeat(piece.mean(axis=2, keepdims=True), 3, axis=2)
    if glowing:
        # Light is additive: dark parts of the crop are the background behind the flame.
        image[y : y + height, x : x + width] = (255 - (255 - behind) * (255 - piece) / 255).astype(np.uint8)
        return
    alpha = _soft_edge(height, width) * _not_white(piece)
    tone = np.clip((behind.mean() + 20) / (piece.mean() + 20), 0.5, 1.3)  # nothing glows in the dark
    mixed = behind * (1 - alpha) + (piece * tone).clip(0, 255) * alpha
    image[y : y + height, x : x + width] = mixed.astype(np.uint8)


def _is_grey(image: Image) -> bool:
    few = image[::8, ::8].astype(np.int16)
    return float((few.max(axis=2) - few.min(axis=2)).mean()) <= _COLOURLESS


def _soft_edge(height: int, width: int) -> Boxes:
    """1 in the middle, falling to 0 over the outer tenth; shape (height, width, 1)."""
    y = np.minimum(np.arange(height), np.arange(height)[::-1]) / max(1, height * 0.1)
    x = np.minimum(np.arange(width), np.arange(width)[::-1]) / max(1, width * 0.1)
    return np.asarray(np.minimum(y[:, None], x[None]).clip(0.1, 1)[:, :, None], np.float32)


def _not_white(piece: Boxes) -> Boxes | float:
    """0 on a stock photo's white background, if most of the crop's border is white."""
    low = piece.min(axis=2)
    border = np.concatenate([low[0], low[-1], low[:, 0], low[:, -1]])
    if (border > 235).mean() < 0.6:
        return 1.0
    return np.asarray(cv2.blur((low < 235).astype(np.float32), (3, 3))[:, :, None], np.float32)
