"""Augmentation for training: the effects of CCTV cameras, and hazards pasted into scenes without any.

Plain numpy and OpenCV on BGR uint8 pictures, so it is tested without torch. All randomness comes from the generator
given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

Image = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Boxes = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Rng = np.random.Generator


def lower_resolution(image: Image, rng: Rng) -> Image:
    """A distant or cheap camera: shrink to between a third and all of its size, and back."""
    height, width = image.shape[:2]
    factor = rng.uniform(0.33, 0.9)
    small = cv2.resize(image, (max(8, int(width * factor)), max(8, int(height * factor))), interpolation=cv2.INTER_AREA)
    return _image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def motion_blur(image: Image, rng: Rng) -> Image:
    """A slow shutter: a line of 3 to 9 px at any angle."""
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    return _image(cv2.filter2D(image, -1, kernel / max(float(kernel.sum()), 1e-6)))


def compression(image: Image, rng: Rng) -> Image:
    """A slow connection: JPEG at quality 12 to 60."""
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 61))])
    return _image(cv2.imdecode(coded, cv2.IMREAD_COLOR))


def noise(image: Image, rng: Rng) -> Image:
    """A small sensor: Gaussian noise of 3 to 16 levels."""
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(3, 16))
    return _image((image + grain).clip(0, 255))


def infrared(image: Image, rng: Rng) -> Image:
    """Night mode: grey, red surfaces bright, contrast stretched, bright in the middle from the lamp."""
    weights = rng.dirichlet((1, 2, 3)).astype(np.float32)
    grey = image @ weights
    height, width = grey.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    lit = grey * (1.1 - away * np.float32(rng.uniform(0, 0.9))) * np.float32(rng.uniform(0.7, 1.3))
    return _image(np.repeat(lit.clip(0, 255)[:, :, None], 3, axis=2))


def low_light(image: Image, rng: Rng) -> Image:
    """Dusk: dark middle tones, bright lights, and the noise of a high gain."""
    gamma, gain = rng.uniform(1.2, 2.6), rng.uniform(0.6, 1.0)
    table = ((np.arange(256) / 255) ** gamma * gain * 255).astype(np.uint8)
    return noise(_image(cv2.LUT(image, table)), rng)


def rain(image: Image, rng: Rng) -> Image:
    """Slanting bright streaks over a picture that has lost contrast."""
    height, width = image.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    slant, length = rng.uniform(-0.4, 0.4), int(rng.integers(6, 24))
    for x, y in rng.integers(0, (width, height), size=(int(rng.integers(60, 300)), 2)).tolist():
        cv2.line(streaks, (x, y), (int(x + slant * length), y + length), int(rng.integers(60, 160)), 1)
    veil = image * np.float32(0.85) + np.float32(20) + cv2.blur(streaks, (3, 3))[:, :, None].astype(np.float32)
    return _image(veil.clip(0, 255))


EFFECTS: Mapping[str, tuple[float, Callable[[Image, Rng], Image]]] = {
    # In the order in which they occur: light, weather, lens and sensor, transmission. The number is the probability.
    "low_light": (0.15, low_light),
    "infrared": (0.12, infrared),
    "rain": (0.05, rain),
    "motion_blur": (0.12, motion_blur),
    "lower_resolution": (0.35, lower_resolution),
    "noise": (0.15, noise),
    "compression": (0.40, compression),
}


def watch(image: Image, rng: Rng, without: Sequence[str] = ()) -> Image:
    """The picture as a random camera might have sent it.

    Args:
        image: BGR, uint8, shape (H, W, 3); not changed.
        rng: chooses the effects and their strength.
        without: names of `EFFECTS` to leave out, for an ablation.
    """
    for name, (share, effect) in EFFECTS.items():
        if rng.random() < share and name not in without:
            image = effect(image, rng)
    return image


def zoom(image: Image, numbers: Boxes, boxes: Boxes, rng: Rng) -> tuple[Image, Boxes, Boxes]:
    """Crop a picture as the detector's second look does: mostly around something labelled.

    Nothing labelled is cut in two: an object less than a fifth of which is inside is dropped, and if less than four
    fifths of one would remain, another crop is tried; if none fits, the whole picture is returned.

    Args:
        image: BGR, uint8, shape (H, W, 3).
        numbers: class numbers, shape (n, 1).
        boxes: centre x, centre y, width, height in fractions of the picture, shape (n, 4).
        rng: makes the choices.

    Returns:
        A view of the picture, and the labels in it.
    """
    height, width = image.shape[:2]
    for _ in range(8):
        side, (x, y) = rng.uniform(0.3, 0.8), rng.uniform(0, 1, 2)
        if len(boxes) and rng.random() < 0.7:
            x, y, *size = boxes[int(rng.integers(len(boxes)))]
            side = max(side, 1.15 * max(size))
            x, y = np.array([x, y]) + rng.uniform(-0.5, 0.5, 2) * (side - np.array(size))
        left, top = (int(max(0.0, min(v - side / 2, 1 - side)) * full) for v, full in ((x, width), (y, height)))
        part = image[top : top + math.ceil(side * height), left : left + math.ceil(side * width)]
        if side >= 1 or min(part.shape[:2]) < 32:
            continue
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        scale = np.array([width, height] * 2) / np.tile(part.shape[1::-1], 2)
        inside = ((corners - np.array([left / width, top / height] * 2)) * scale).clip(0, 1)
        sizes = inside[:, 2:] - inside[:, :2]
        seen = sizes.prod(axis=1) / np.maximum((boxes[:, 2:] * scale[:2]).prod(axis=1), 1e-9)
        if not ((seen > 0.2) & (seen < 0.8)).any():
            kept = seen >= 0.8
            found = np.concatenate([(inside[:, :2] + inside[:, 2:]) / 2, sizes], axis=1)[kept]
            return part, numbers[kept], np.asarray(found, np.float32)
    return image, numbers, boxes


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

    def __post_init__(self) -> None:
        self._decoys = [i for i, crop in enumerate(self.crops) if crop.number is None]
        self._hazards = [i for i, crop in enumerate(self.crops) if crop.number is not None]

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
        image = image.copy()
        taken = boxes
        for _ in range(int(rng.integers(1, 3))):
            pool = self._decoys if self._decoys and rng.random() < 0.5 else self._hazards
            crop = self.crops[pool[int(rng.integers(len(pool)))]]
            placed = _place(image.shape, crop.image.shape, taken, rng)
            if placed is None:
                continue
            _blend(image, crop, placed, crop.number in self.glowing, rng)
            x, y, width, height = placed
            row = np.array([[x + width / 2, y + height / 2, width, height]], np.float32)
            row /= np.tile(image.shape[1::-1], 2).astype(np.float32)
            taken = np.concatenate([taken, row])
            if crop.number is not None:
                numbers = np.concatenate([numbers, np.array([[crop.number]], np.float32)])
                boxes = np.concatenate([boxes, row])
        return image, numbers, boxes


def _place(shape: tuple[int, ...], crop: tuple[int, ...], boxes: Boxes, rng: Rng) -> tuple[int, int, int, int] | None:
    """Where to paste (left, top, width, height in px): small, as objects are from a camera, and not over a label."""
    height, width = shape[:2]
    longer = rng.uniform(0.06, 0.30) * max(height, width)
    scale = longer / max(crop[:2])
    w, h = max(4, round(crop[1] * scale)), max(4, round(crop[0] * scale))
    if w >= width or h >= height:
        return None
    centers, sizes = boxes[:, :2] * (width, height), boxes[:, 2:] * (width, height)
    for _ in range(8):
        x, y = int(rng.integers(width - w)), int(rng.integers(height - h))
        apart = np.abs(centers - (x + w / 2, y + h / 2)) >= (sizes + np.array([w, h])) / 2
        if apart.any(axis=1).all():
            return x, y, w, h
    return None


def _blend(image: Image, crop: Crop, at: tuple[int, int, int, int], glowing: bool, rng: Rng) -> None:
    x, y, width, height = at
    piece = cv2.resize(crop.image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    behind = image[y : y + height, x : x + width].astype(np.float32)
    if glowing:
        # Light is additive: dark parts of the crop are the background behind the flame.
        image[y : y + height, x : x + width] = (255 - (255 - behind) * (255 - piece) / 255).astype(np.uint8)
        return
    alpha = _soft_edge(height, width) * _not_white(piece)
    tone = np.clip((behind.mean() + 20) / (piece.mean() + 20), 0.5, 1.3)  # nothing glows in the dark
    mixed = behind * (1 - alpha) + (piece * tone).clip(0, 255) * alpha
    image[y : y + height, x : x + width] = mixed.astype(np.uint8)


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


def _image(values: object) -> Image:
    return np.asarray(values, np.uint8)
