"""The networks: JPEG bytes in, detections out, whichever backend runs them. The detector's worker calls it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detect.backends import Floats, open_backend
from detect.registry import WEIGHTS, ModelError
from functions import HAZARDS, Box, Detection
from functions.jpeg import PictureError, check_jpeg

Image = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

SCENE_LABELS = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
"""What the scene network is asked for, by its class number in COCO."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
"""Scales at which a JPEG can be decoded for less."""
_BLANK = 2.0
"""Standard deviation in levels of 255: a flame of 12x12 px alone in a dark picture of 640x360 has 5."""
_GRAY = 114
"""Letterbox padding, as in training."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One network: its file, the labels by class number, the least score worth keeping, overlap that means "same"."""

    path: Path
    labels: dict[int, str]
    min_confidence: float
    iou: float = 0.5


# 0.25: weaker boxes say nothing for a hazard, and would speak against it by lowering the median of a burst.
HAZARD = Spec(WEIGHTS / "hazard4_320.onnx", dict(enumerate(HAZARDS)), min_confidence=0.25)
# 0.2: a head that is mosaicked without need costs less than one that is not.
SCENE = Spec(WEIGHTS / "scene_640.onnx", SCENE_LABELS, min_confidence=0.2)


class Network:
    """A YOLOv8 network and how its scores are read."""

    def __init__(self, spec: Spec, threads: int = 2, device: str = "auto") -> None:
        """Load a network.

        Args:
            spec: which one.
            threads: of one inference.
            device: see `detect.backends.open_backend`.

        Raises:
            ModelError: the file is missing, is not the one that was shipped, or is no such network.
        """
        _give_back_memory()
        self._labels = spec.labels
        self._min_confidence = spec.min_confidence
        self._iou = spec.iou
        self._backend = open_backend(spec.path, device, threads)
        self.size_px = self._backend.size_px

    @property
    def labels(self) -> tuple[str, ...]:
        """What this network looks for."""
        return tuple(self._labels.values())

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Find objects in pictures, all in one inference.

        Args:
            images: BGR, uint8, shape (H, W, 3), sizes may differ.

        Returns:
            For each picture its detections, most confident first.

        Raises:
            ModelError: the network cannot be run now.
        """
        if not images:
            return []
        try:
            output = self._backend.infer(letterbox(images, self.size_px))
        except Exception as error:  # each backend raises classes of its own; out of memory, most likely
            raise ModelError(f"the network failed on {len(images)} pictures: {error}") from error
        return [
            [] if _is_blank(image) else self._read(scores, image.shape[:2])
            for scores, image in zip(output, images, strict=True)
        ]

    def _read(self, output: Floats, shape: tuple[int, ...]) -> list[Detection]:
        """Rows of the output are cx, cy, w, h in pixels of the network's input, then one score for each class."""
        numbers = list(self._labels)
        scores = output[4:][numbers]
        best = scores.argmax(axis=0)
        confidence = scores[best, np.arange(scores.shape[1])]
        keep = np.flatnonzero(confidence >= self._min_confidence)
        if keep.size == 0:
            return []
        confidence, best = confidence[keep], best[keep]
        cx, cy, width, height = output[:4, keep]
        corners = np.stack([cx - width / 2, cy - height / 2, width, height], axis=1)
        chosen = cv2.dnn.NMSBoxesBatched(
            corners.tolist(), confidence.tolist(), best.tolist(), self._min_confidence, self._iou
        )
        boxes = _to_fractions(corners, shape, self.size_px)
        found = [
            Detection(self._labels[numbers[best[i]]], min(1.0, float(confidence[i])), Box(*boxes[i].tolist()))
            for i in np.asarray(chosen).ravel()
        ]
        return sorted(found, key=lambda d: -d.confidence)


def _is_blank(image: Image) -> bool:
    """Whether nothing can be seen: a covered lens, a lost signal. Networks, asked what such a picture shows, guess."""
    return float(cv2.meanStdDev(image)[1].max()) < _BLANK


def decode_jpeg(jpeg: bytes, *, enough_px: int = 0) -> Image:
    """Decode a JPEG, at reduced scale if that still has `enough_px` on its longer side.

    Args:
        jpeg: the bytes.
        enough_px: what the reader needs, in pixels; 0 for full size.

    Returns:
        BGR, uint8, shape (H, W, 3).

    Raises:
        PictureError: not a JPEG, cut off, or so large that decoding would exhaust memory.
    """
    width, height = check_jpeg(jpeg)
    flag = cv2.IMREAD_COLOR
    for scale, reduced in _REDUCED:
        if enough_px and max(width, height) // scale >= enough_px:
            flag = reduced
            break
    # Boxes belong to the picture as it is stored, whatever its Exif says of turning it.
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise PictureError(f"JPEG of {len(jpeg)} bytes cannot be decoded")
    return np.asarray(image, np.uint8)


def letterbox(images: Sequence[Image], size_px: int) -> Floats:
    """Pictures as a network sees them: fitted and centred on grey, RGB planes in [0, 1], shape (n, 3, size, size)."""
    batch = np.empty((len(images), 3, size_px, size_px), np.float32)
    for image, into in zip(images, batch, strict=True):
        _letterbox(image, into)
    return batch


def threads_from_environment() -> int:
    """`BONGSU_DETECT_THREADS`, default 2.

    Raises:
        ModelError: it is no positive number.
    """
    given = os.environ.get("BONGSU_DETECT_THREADS") or "2"
    if not given.isdecimal() or int(given) < 1:
        raise ModelError(f"BONGSU_DETECT_THREADS must be a number from 1, got {given!r}")
    return int(given)


def device_from_environment() -> str:
    """`BONGSU_DETECT_DEVICE`, default `auto`; `open_backend` says what there is."""
    return os.environ.get("BONGSU_DETECT_DEVICE") or "auto"


def hazard_spec() -> Spec:
    """The hazard network: the shipped one, or that of `BONGSU_DETECT_WEIGHTS`."""
    given = os.environ.get("BONGSU_DETECT_WEIGHTS")
    return Spec(Path(given), HAZARD.labels, HAZARD.min_confidence) if given else HAZARD


def _give_back_memory() -> None:
    """Have glibc map each large block by itself, so that it goes back to the system when it is freed.

    glibc would raise its threshold to the largest block that was ever freed, and keep all of that: 100 MB of a process
    that waits for work nearly all the time. It costs 8 ms a burst. Elsewhere than on Linux this does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
            mallopt(_M_TRIM_THRESHOLD, 128 * 1024)


def _letterbox(image: Image, into: Floats) -> None:
    """Write the picture, scaled to fit and centred on grey, as RGB planes in [0, 1]."""
    size = into.shape[1]
    height, width = image.shape[:2]
    scale = min(size / width, size / height)
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    if fitted != (width, height):
        image = np.asarray(cv2.resize(image, fitted, interpolation=cv2.INTER_LINEAR), np.uint8)
    left, top = (size - fitted[0]) // 2, (size - fitted[1]) // 2
    into.fill(_GRAY / 255)
    target = into[:, top : top + fitted[1], left : left + fitted[0]]
    np.multiply(image[:, :, ::-1].transpose(2, 0, 1), np.float32(1 / 255), out=target)


def _to_fractions(corners: Floats, shape: tuple[int, ...], size_px: int) -> Floats:
    """(left, top, width, height) in pixels of the letterboxed input to (x1, y1, x2, y2) in fractions of the picture."""
    height, width = shape
    scale = min(size_px / width, size_px / height)
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size_px - fitted[0]) // 2, (size_px - fitted[1]) // 2
    x1 = (corners[:, 0] - left) / fitted[0]
    y1 = (corners[:, 1] - top) / fitted[1]
    boxes = np.stack([x1, y1, x1 + corners[:, 2] / fitted[0], y1 + corners[:, 3] / fitted[1]], axis=1)
    return np.asarray(np.nan_to_num(boxes).clip(0, 1), np.float32)
