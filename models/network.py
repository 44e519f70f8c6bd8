"""Runs a network on pictures and returns detections, on any backend. The detector's worker calls it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from functions import HAZARDS, Box, Detection
from functions.hazards import hazard_named
from functions.jpeg import PictureError, check_jpeg
from models.backends import Floats, open_backend
from models.facts import Facts
from models.head import Found, Numbers, choose_head
from models.letterbox import Fit, Image, letterbox
from models.registry import WEIGHTS, ModelError, find_weights

SCENE_LABELS = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
"""Labels of the scene network that are used, by class number in COCO."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameter numbers of mallopt(3)."""
_REDUCED = (8, 4, 2)
"""Scales at which libjpeg-turbo decodes a JPEG faster."""
_BLANK = 2.0
"""Standard deviation in grey levels (0 to 255): a flame of 12x12 px alone in a dark picture of 640x360 has 5."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One network.

    Attributes:
        path: weight file.
        labels: by class number, for a file that does not name its classes, or if there is no `label_of`.
        min_confidence: detections below it are discarded.
        iou: overlap above which two boxes count as the same object.
        int8: a quantized copy that a CPU with VNNI runs instead, if it exists.
        classes: number of the network's classes, if it has more than are labelled.
        label_of: the label of a class by the name that the file gives it; None: the class is ignored.
    """

    path: Path
    labels: dict[int, str]
    min_confidence: float
    iou: float = 0.5
    int8: Path | None = None
    classes: int | None = None
    label_of: Callable[[str], str | None] | None = None


# 0.25: weaker boxes are not evidence for a hazard, and would lower the median of a burst.
HAZARD = Spec(
    WEIGHTS / "hazard4_320.onnx",
    dict(enumerate(HAZARDS)),
    min_confidence=0.25,
    int8=WEIGHTS / "hazard4_320_int8.onnx",
    label_of=hazard_named,
)
# 0.2: pixelating something that is not a head costs less than missing one.
SCENE = Spec(WEIGHTS / "scene_640.onnx", SCENE_LABELS, min_confidence=0.2, classes=80)


class Network:
    """A detection network with the decoding of its outputs."""

    def __init__(self, spec: Spec, threads: int = 2, device: str = "auto", lanes: int = 1) -> None:
        """Load a network.

        Args:
            spec: the network to load.
            threads: CPU threads of one inference.
            device: see `models.backends.open_backend`.
            lanes: how many threads may call `detect` at once.

        Raises:
            ModelError: the file is missing, its digest differs, or it is not such a network.
        """
        _give_back_memory()
        self._min_confidence = spec.min_confidence
        self._iou = spec.iou
        self._backend = open_backend(spec.path, device, threads, spec.int8, lanes)
        facts = self._backend.facts
        self.size_px = facts.size_px
        self._is_single = facts.is_single
        self._head = choose_head(facts)
        labels = _labels(spec, facts, self._head.classes)
        self._numbers = tuple(labels)
        self.labels = tuple(dict.fromkeys(labels.values()))
        """Labels that this network can find."""
        self._label_of = np.asarray([self.labels.index(label) for label in labels.values()], np.intp)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Find objects in pictures, in one inference for each input size if the network takes several pictures.

        Args:
            images: BGR, uint8, shape (H, W, 3), sizes may differ.

        Returns:
            For each picture its detections, most confident first.

        Raises:
            ModelError: the network cannot be run now.
        """
        fits = [self._head.fit(image.shape) for image in images]
        found: list[list[Detection]] = [[] for _ in images]
        for seen, members in self._batches(fits):
            batch = letterbox([images[i] for i in members], [fits[i] for i in members])
            try:
                outputs = self._backend.infer(batch)
            except Exception as error:  # each backend raises its own classes; most often for lack of memory
                raise ModelError(f"the network failed on {len(members)} pictures: {error}") from error
            for n, i in enumerate(members):
                if not _is_blank(images[i]):
                    boxes = self._head.read(outputs, n, seen, self._numbers, self._min_confidence)
                    found[i] = self._name(boxes, fits[i])
        return found

    def _batches(self, fits: Sequence[Fit]) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """Input size and pictures of each inference.

        Pictures of the same input size run as one batch: those of a burst, and of cameras of one kind.
        """
        together: dict[tuple[int, int], list[int]] = {}
        for i, place in enumerate(fits):
            together.setdefault((place.seen_height, place.seen_width), []).append(i)
        for seen, members in together.items():
            for batch in [[i] for i in members] if self._is_single else [members]:
                yield seen, batch

    def _name(self, boxes: Found, place: Fit) -> list[Detection]:
        """Suppress overlapping boxes, and convert the rest to detections with label and position in the picture.

        A box with a NaN side, from a numeric overflow in the network, is discarded.
        """
        corners, confidence, which = boxes
        placed = np.isfinite(corners).all(axis=1)
        corners, confidence, which = corners[placed], confidence[placed], which[placed]
        if not len(corners):
            return []
        which = self._label_of[which]
        chosen = range(len(corners)) if self._head.is_suppressed else self._suppress(corners, confidence, which)
        fractions = place.to_fractions(corners)
        found = [
            Detection(self.labels[which[i]], min(1.0, float(confidence[i])), Box(*fractions[i].tolist()))
            for i in chosen
        ]
        return sorted(found, key=lambda d: -d.confidence)

    def _suppress(self, corners: Floats, confidence: Floats, which: Numbers) -> list[int]:
        """Indices of the boxes that remain, of those of one label that overlap the most confident."""
        chosen = cv2.dnn.NMSBoxesBatched(
            corners.tolist(), confidence.tolist(), which.tolist(), self._min_confidence, self._iou
        )
        return [int(i) for i in np.asarray(chosen).ravel()]


def _labels(spec: Spec, facts: Facts, classes: int) -> dict[int, str]:
    """Labels of a network's classes by number: by the names in its file, or by their numbers in the spec.

    Raises:
        ModelError: it can find nothing that is wanted.
    """
    wanted = tuple(dict.fromkeys(spec.labels.values()))
    if facts.names and spec.label_of:
        if classes and classes != len(facts.names):
            raise ModelError(f"{spec.path} names {len(facts.names)} classes in its metadata but has {classes}")
        labels = {number: label for number, name in facts.names.items() if (label := spec.label_of(name))}
        if not labels:
            raise ModelError(
                f"{spec.path} finds none of {', '.join(wanted)}: its classes are "
                f"{', '.join(facts.names.values())[:200]}"
            )
        return labels
    # Classes are known by number alone: without this check another network's classes would get these labels.
    if classes != (expected := spec.classes or len(spec.labels)):
        raise ModelError(
            f"{spec.path} has {classes or 'unnamed'} classes, expected {expected} ({', '.join(wanted)}): use weights "
            "trained for these, or with the names of their classes in the metadata"
        )
    return spec.labels


def _is_blank(image: Image) -> bool:
    """Whether the picture is uniform (covered lens, lost signal): on such pictures networks report false detections."""
    return float(cv2.meanStdDev(image)[1].max()) < _BLANK


def decode_jpeg(jpeg: bytes, *, enough_px: int = 0) -> Image:
    """Decode a JPEG, at reduced scale if that still has `enough_px` on its longer side.

    Args:
        jpeg: the bytes.
        enough_px: longer side in pixels that the caller needs; 0 for full size.

    Returns:
        BGR, uint8, shape (H, W, 3).

    Raises:
        PictureError: not a JPEG, truncated, or so large that decoding would exhaust memory.
    """
    width, height = check_jpeg(jpeg)
    scale = next((s for s in _REDUCED if enough_px and max(width, height) // s >= enough_px), 1)
    try:
        # Exif rotation is ignored: boxes refer to the picture as it is stored.
        image = simplejpeg.decode_jpeg(
            jpeg, "BGR", min_width=-(-width // scale), min_height=-(-height // scale), min_factor=scale, strict=False
        )
    except ValueError as error:
        raise PictureError(f"JPEG of {len(jpeg)} bytes cannot be decoded: {error}") from None
    return np.asarray(image, np.uint8)


def threads_from_environment() -> int:
    """`BONGSU_DETECT_THREADS`, default 2.

    Raises:
        ModelError: it is not a positive number.
    """
    given = os.environ.get("BONGSU_DETECT_THREADS") or "2"
    if not given.isdecimal() or int(given) < 1:
        raise ModelError(f"BONGSU_DETECT_THREADS must be a number from 1, got {given!r}")
    return int(given)


def device_from_environment() -> str:
    """`BONGSU_DETECT_DEVICE`, default `auto`; `open_backend` lists the devices."""
    return os.environ.get("BONGSU_DETECT_DEVICE") or "auto"


def hazard_spec() -> Spec:
    """The hazard network: the shipped one, or that of `BONGSU_DETECT_WEIGHTS`, with its int8 copy if there is one.

    Raises:
        ModelError: the variable names a folder that holds no version of a model.
    """
    given = os.environ.get("BONGSU_DETECT_WEIGHTS")
    if not given:
        return HAZARD
    path = find_weights(Path(given))
    return replace(HAZARD, path=path, int8=path.with_name(f"{path.stem}_int8{path.suffix}"))


def _give_back_memory() -> None:
    """Have glibc map each large block separately, so that it returns to the system when it is freed.

    Otherwise glibc raises its threshold to the largest block ever freed, and keeps that much memory in a process that
    is idle most of the time. Inference memory stays in the backend's own arena, so the only cost is page faults for
    pictures. Does nothing except on Linux.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
            mallopt(_M_TRIM_THRESHOLD, 128 * 1024)
