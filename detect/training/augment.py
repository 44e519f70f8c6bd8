"""Augmentation for training: the effects of CCTV cameras, and crops as in the detector's second and third look.

Plain numpy and OpenCV on BGR uint8 pictures, so it is tested without torch. All randomness comes from the generator
given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from functions import Box

Image = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Boxes = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Rng = np.random.Generator
_LEAST_PX = 32


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
    for _ in range(8):
        side, (x, y) = rng.uniform(0.3, 0.8), rng.uniform(0, 1, 2)
        if len(boxes) and rng.random() < 0.7:
            x, y, *size = boxes[int(rng.integers(len(boxes)))]
            side = max(side, 1.15 * max(size))
            x, y = np.array([x, y]) + rng.uniform(-0.5, 0.5, 2) * (side - np.array(size))
        left, top = (max(0.0, min(v - side / 2, 1 - side)) for v in (x, y))
        if side < 1 and (
            part := crop(image, numbers, boxes, Box(left, top, min(1.0, left + side), min(1.0, top + side)))
        ):
            return part
    return image, numbers, boxes


def zoom_on_person(image: Image, numbers: Boxes, boxes: Boxes, person: Box, rng: Rng) -> tuple[Image, Boxes, Boxes]:
    """Crop a picture around a person, as the detector's third look does.

    The crop is 1.3 to 2 times as wide and high as the person, and moved by up to a tenth of its own size. As in
    `zoom`, no label is cut in two; if none of four crops does without, the whole picture is returned.

    Args:
        image: BGR, uint8, shape (H, W, 3).
        numbers: class numbers, shape (n, 1).
        boxes: centre x, centre y, width, height in fractions of the picture, shape (n, 4).
        person: in fractions of the picture.
        rng: makes the choices.

    Returns:
        A view of the picture, and the labels in it.
    """
    for _ in range(4):
        around = person.grown(rng.uniform(1.3, 2.0))
        dx, dy = rng.uniform(-0.1, 0.1, 2) * (around.x2 - around.x1, around.y2 - around.y1)
        left, top, right, bottom = around.x1 + dx, around.y1 + dy, around.x2 + dx, around.y2 + dy
        moved = Box(max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom))
        if part := crop(image, numbers, boxes, moved):
            return part
    return image, numbers, boxes


def crop(image: Image, numbers: Boxes, boxes: Boxes, at: Box) -> tuple[Image, Boxes, Boxes] | None:
    """A view of a part of a picture with the labels in it; None if a label is cut in two or a side is under 32 px.

    Args:
        image: BGR, uint8, shape (H, W, 3).
        numbers: class numbers, shape (n, 1).
        boxes: centre x, centre y, width, height in fractions of the picture, shape (n, 4).
        at: the part, in fractions of the picture.
    """
    height, width = image.shape[:2]
    left, top = int(at.x1 * width), int(at.y1 * height)
    part = image[top : top + math.ceil((at.y2 - at.y1) * height), left : left + math.ceil((at.x2 - at.x1) * width)]
    if min(part.shape[:2]) < _LEAST_PX:
        return None
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    scale = np.array([width, height] * 2) / np.tile(part.shape[1::-1], 2)
    inside = ((corners - np.array([left / width, top / height] * 2)) * scale).clip(0, 1)
    sizes = inside[:, 2:] - inside[:, :2]
    seen = sizes.prod(axis=1) / np.maximum((boxes[:, 2:] * scale[:2]).prod(axis=1), 1e-9)
    if ((seen > 0.2) & (seen < 0.8)).any():
        return None
    kept = seen >= 0.8
    found = np.concatenate([(inside[:, :2] + inside[:, 2:]) / 2, sizes], axis=1)[kept]
    return part, numbers[kept], np.asarray(found, np.float32)


def _image(values: object) -> Image:
    return np.asarray(values, np.uint8)
