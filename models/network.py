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
import simplejpeg

from functions import HAZARDS, Box, Detection
from functions.jpeg import PictureError, check_jpeg
from models.backends import Floats, open_backend
from models.head import Numbers, read_boxes
from models.letterbox import Fit, Image, fit, letterbox
from models.registry import WEIGHTS, ModelError

SCENE_LABELS = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
"""What the scene network is asked for, by its class number in COCO."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_REDUCED = (8, 4, 2)
"""Scales at which a JPEG can be decoded for less: libjpeg-turbo has fast code for these."""
_BLANK = 2.0
"""Standard deviation in levels of 255: a flame of 12x12 px alone in a dark picture of 640x360 has 5."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One network.

    Attributes:
        path: its file.
        labels: by class number.
        min_confidence: the least that is worth keeping.
        iou: overlap that means "the same".
        int8: a copy that a CPU with VNNI runs in its place, if it is there.
        classes: how many the network tells, if it tells more than are labelled.
    """

    path: Path
    labels: dict[int, str]
    min_confidence: float
    iou: float = 0.5
    int8: Path | None = None
    classes: int | None = None


# 0.25: weaker boxes say nothing for a hazard, and would speak against it by lowering the median of a burst.
HAZARD = Spec(
    WEIGHTS / "hazard4_320.onnx",
    dict(enumerate(HAZARDS)),
    min_confidence=0.25,
    int8=WEIGHTS / "hazard4_320_int8.onnx",
)
# 0.2: a head that is mosaicked without need costs less than one that is not.
SCENE = Spec(WEIGHTS / "scene_640.onnx", SCENE_LABELS, min_confidence=0.2, classes=80)


class Network:
    """A YOLOv8 network and how its scores are read."""

    def __init__(self, spec: Spec, threads: int = 2, device: str = "auto", lanes: int = 1) -> None:
        """Load a network.

        Args:
            spec: which one.
            threads: of one inference.
            device: see `models.backends.open_backend`.
            lanes: how many threads may call `detect` at once.

        Raises:
            ModelError: the file is missing, is not the one that was shipped, or is no such network.
        """
        _give_back_memory()
        self._labels = spec.labels
        self._min_confidence = spec.min_confidence
        self._iou = spec.iou
        self._backend = open_backend(spec.path, device, threads, spec.int8, lanes)
        self.size_px = self._backend.size_px
        # Numbers alone say which class is which: another network's first ones would pass for these.
        if self._backend.classes != (wanted := spec.classes or len(spec.labels)):
            raise ModelError(
                f"{spec.path} tells {self._backend.classes} classes, but {wanted} are asked for "
                f"({', '.join(self.labels)}): it was trained for others"
            )

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
        fits = [fit(image.shape, self.size_px) for image in images]
        # Pictures that are seen at the same size run together: those of a burst, and of cameras of one kind.
        together: dict[tuple[int, int], list[int]] = {}
        for i, place in enumerate(fits):
            together.setdefault((place.seen_height, place.seen_width), []).append(i)
        found: list[list[Detection]] = [[] for _ in images]
        for seen, members in together.items():
            batch = letterbox([images[i] for i in members], [fits[i] for i in members])
            try:
                sides, classes = self._backend.infer(batch)
            except Exception as error:  # each backend raises classes of its own; out of memory, most likely
                raise ModelError(f"the network failed on {len(members)} pictures: {error}") from error
            for n, i in enumerate(members):
                if not _is_blank(images[i]):
                    boxes = read_boxes(sides[n], classes[n], seen, tuple(self._labels), self._min_confidence)
                    found[i] = self._name(*boxes, fits[i])
        return found

    def _name(self, corners: Floats, confidence: Floats, which: Numbers, place: Fit) -> list[Detection]:
        """Of boxes that overlap the best stays; each gets its label and its place in the picture.

        What has no place, for the network's numbers ran over, is nothing that was seen.
        """
        placed = np.isfinite(corners).all(axis=1)
        corners, confidence, which = corners[placed], confidence[placed], which[placed]
        if not len(corners):
            return []
        chosen = cv2.dnn.NMSBoxesBatched(
            corners.tolist(), confidence.tolist(), which.tolist(), self._min_confidence, self._iou
        )
        labels, boxes = self.labels, place.to_fractions(corners)
        found = [
            Detection(labels[which[i]], min(1.0, float(confidence[i])), Box(*boxes[i].tolist()))
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
    scale = next((s for s in _REDUCED if enough_px and max(width, height) // s >= enough_px), 1)
    try:
        # What Exif says of turning it is not asked: boxes belong to the picture as it is stored.
        image = simplejpeg.decode_jpeg(
            jpeg, "BGR", min_width=-(-width // scale), min_height=-(-height // scale), min_factor=scale, strict=False
        )
    except ValueError as error:
        raise PictureError(f"JPEG of {len(jpeg)} bytes cannot be decoded: {error}") from None
    return np.asarray(image, np.uint8)


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

    glibc would raise its threshold to the largest block that was ever freed, and keep all of that in a process that
    waits for work nearly all the time. What an inference needs is kept in the backend's own arena, so this costs only
    pictures their page faults. Elsewhere than on Linux this does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
            mallopt(_M_TRIM_THRESHOLD, 128 * 1024)
