"""Fits pictures into a network's input, and converts boxes found there to fractions of the picture.

`models/network.py` calls it for each inference, `detect/training/export.py` for the calibration pictures of int8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.backends import Floats

Image = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

_STEP_PX = 32
"""The network's largest stride: both sides of its input are multiples of it."""
_GRAY = 114
"""Grey level of the padding, as in training."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Position of a picture in the smallest input of whole cells that holds it, in pixels of the network's input."""

    left: int
    top: int
    width: int
    height: int
    seen_width: int
    seen_height: int

    def to_fractions(self, corners: Floats) -> Floats:
        """Convert boxes to fractions of the picture.

        Args:
            corners: left, top, width, height of each box in pixels of the network's input, shape (k, 4).

        Returns:
            x1, y1, x2, y2 in [0, 1], shape (k, 4).
        """
        x1 = (corners[:, 0] - self.left) / self.width
        y1 = (corners[:, 1] - self.top) / self.height
        boxes = np.stack([x1, y1, x1 + corners[:, 2] / self.width, y1 + corners[:, 3] / self.height], axis=1)
        return np.asarray(boxes.clip(0, 1), np.float32)


def fit(shape: tuple[int, ...], size_px: int) -> Fit:
    """Scale a picture so that its longer side is `size_px`, and centre it.

    A wide picture is not padded to a square: a 16:9 camera would spend two fifths of the time on padding.

    Args:
        shape: height and width of the picture; further sizes are ignored.
        size_px: a multiple of 32.
    """
    height, width = shape[:2]
    scale = min(size_px / width, size_px / height)
    fitted_width, fitted_height = max(1, round(width * scale)), max(1, round(height * scale))
    seen_width, seen_height = (-(-side // _STEP_PX) * _STEP_PX for side in (fitted_width, fitted_height))
    left, top = (seen_width - fitted_width) // 2, (seen_height - fitted_height) // 2
    return Fit(left, top, fitted_width, fitted_height, seen_width, seen_height)


def fit_into(shape: tuple[int, ...], size: tuple[int, int]) -> Fit:
    """Scale a picture into an input of one size (height, width), and centre it."""
    (height, width), (seen_height, seen_width) = shape[:2], size
    scale = min(seen_width / width, seen_height / height)
    fitted_width = min(seen_width, max(1, round(width * scale)))
    fitted_height = min(seen_height, max(1, round(height * scale)))
    left, top = (seen_width - fitted_width) // 2, (seen_height - fitted_height) // 2
    return Fit(left, top, fitted_width, fitted_height, seen_width, seen_height)


def stretch(shape: tuple[int, ...], size: tuple[int, int]) -> Fit:
    """Stretch a picture to fill an input of one size (height, width)."""
    height, width = size
    return Fit(0, 0, width, height, width, height)


def letterbox(images: Sequence[Image], fits: Sequence[Fit]) -> Floats:
    """Make a network's input: pictures scaled and centred on grey, as RGB planes in [0, 1].

    Args:
        images: BGR, uint8, shape (H, W, 3).
        fits: one for each picture; all have the same input size.

    Returns:
        Shape (n, 3, seen_height, seen_width).
    """
    batch = np.empty((len(images), 3, fits[0].seen_height, fits[0].seen_width), np.float32)
    for image, into, place in zip(images, batch, fits, strict=True):
        _letterbox(image, into, place)
    return batch


def _letterbox(image: Image, into: Floats, place: Fit) -> None:
    if image.shape[:2] != (place.height, place.width):
        fitted = cv2.resize(image, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
        image = np.asarray(fitted, np.uint8)
    into.fill(_GRAY / 255)
    target = into[:, place.top : place.top + place.height, place.left : place.left + place.width]
    np.multiply(image[:, :, ::-1].transpose(2, 0, 1), np.float32(1 / 255), out=target)
