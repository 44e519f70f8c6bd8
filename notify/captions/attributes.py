"""Clothing of people and colours of vehicles, read from the captioner's frame, and only where they are clear.

Two small networks read the boxes that the detector found. The person network's outputs for sex and hair are not in the
shipped weights (tools/attribute_networks.py removes them), so they can be neither read nor published. Thresholds and
smallest sizes come from crops that were judged by eye: docs/captions.md.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from functions.event import Box, Detection, Frame
from functions.jpeg import PictureError, check_jpeg
from functions.reasons import one_line

if TYPE_CHECKING:
    import numpy as np

    Image = np.ndarray[Any, np.dtype[Any]]

WEIGHTS = Path(__file__).with_name("weights")
PERSON_WEIGHTS = "person-attributes-recognition-crossroad-0230.onnx"
VEHICLE_WEIGHTS = "vehicle-attributes-recognition-barrier-0039.onnx"

Worn = Literal["hat", "long_sleeves", "long_trousers"]
Colour = Literal["white", "gray", "yellow", "red", "green", "blue", "black"]

# In the order of the networks' outputs.
_WORN: tuple[Worn, ...] = ("hat", "long_sleeves", "long_trousers")
_COLOURS: tuple[Colour, ...] = ("white", "gray", "yellow", "red", "green", "blue", "black")
_KINDS = ("car", "bus", "truck", "van")

_WORN_SURE = {"hat": 0.8, "long_sleeves": 0.9, "long_trousers": 0.9}
_COLOUR_SURE = 0.98
_KIND_SURE = 0.95
# Smaller crops are blurred, and in them the vehicle network reports dark colours as blue.
_PERSON_MIN_PX = (40, 120)
_VEHICLE_MIN_PX = 72
# The person network is trained on whole standing people; for seated or truncated ones it invents trousers.
_UPRIGHT = 2.0
_LOOKED_AT_MAX = 12
_DARK = 50


@dataclass(frozen=True, slots=True)
class Look:
    """Clear attributes of one detection."""

    worn: frozenset[Worn] = frozenset()
    dark_top: bool = False
    colour: Colour | None = None
    is_doubtful: bool = False
    """For a vehicle: the two networks disagree on its kind, so the caption calls it a vehicle."""


class AttributesError(Exception):
    """The networks cannot be loaded; captions go without them."""


class AttributeReader:
    """Both networks. Thread-safe.

    Raises:
        AttributesError: weights are missing, differ from the shipped ones, or cannot be read.
    """

    def __init__(self, folder: Path = WEIGHTS) -> None:
        import cv2
        import numpy as np

        try:
            person, vehicle = (_verified(folder / name) for name in (PERSON_WEIGHTS, VEHICLE_WEIGHTS))
            self._people = cv2.dnn.readNetFromONNX(np.frombuffer(person, np.uint8))
            self._vehicles = cv2.dnn.readNetFromONNX(np.frombuffer(vehicle, np.uint8))
        except cv2.error as error:
            raise AttributesError(f"attribute networks cannot be read: {one_line(error)}") from error
        self._lock = threading.Lock()

    def read_frame(self, frame: Frame, detections: Sequence[Detection]) -> dict[int, Look]:
        """As `read`, from an event's frame (JPEG).

        Raises:
            AttributesError: it cannot be decoded, or OpenCV failed on it.
        """
        import cv2
        import numpy as np

        if not any(_has_attributes(d) for d in detections):
            return {}
        try:
            check_jpeg(frame.jpeg)
            image = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except (PictureError, cv2.error) as error:
            raise AttributesError(f"the frame cannot be decoded: {one_line(error)}") from error
        if image is None:
            raise AttributesError("the frame cannot be decoded")
        return self.read(image, detections)

    def read(self, image: Image, detections: Sequence[Detection]) -> dict[int, Look]:
        """Clear attributes of each detection, by its index in the list; detections without any are left out.

        Args:
            image: the unredacted frame, BGR, uint8; it is only read.
            detections: boxes in it; the twelve largest people and vehicles are read.

        Raises:
            AttributesError: OpenCV failed on it.
        """
        import cv2

        candidates = [i for i, d in enumerate(detections) if _has_attributes(d)]
        candidates.sort(key=lambda i: detections[i].box.area, reverse=True)
        looks = {}
        for i in candidates[:_LOOKED_AT_MAX]:
            crop = _cut(image, detections[i].box)
            try:
                with self._lock:
                    look = self._person(crop) if detections[i].label == "person" else self._vehicle(crop, detections[i])
            except cv2.error as error:
                raise AttributesError(f"a crop could not be read: {one_line(error)}") from error
            if look != Look():
                looks[i] = look
        return looks

    def _person(self, crop: Image) -> Look:
        height, width = crop.shape[:2]
        if width < _PERSON_MIN_PX[0] or height < _PERSON_MIN_PX[1] or height < _UPRIGHT * width:
            return Look()
        worn, point = self._ask(self._people, crop, (80, 160), ("worn", "upper_point"))
        clear = frozenset(name for name, score in zip(_WORN, worn, strict=True) if score >= _WORN_SURE[name])
        return Look(worn=clear, dark_top=bool(clear) and _is_dark(crop, point))

    def _vehicle(self, crop: Image, detection: Detection) -> Look:
        if min(crop.shape[:2]) < _VEHICLE_MIN_PX:
            return Look()
        kinds, colours = self._ask(self._vehicles, crop, (72, 72), ("kind", "colour"))
        kind = _KINDS[max(range(len(kinds)), key=kinds.__getitem__)]
        best = max(range(len(colours)), key=colours.__getitem__)
        # One network calls a van a car, the other a lorry: that is not a contradiction.
        doubtful = max(kinds) >= _KIND_SURE and kind not in (detection.label, "van")
        return Look(colour=_COLOURS[best] if colours[best] >= _COLOUR_SURE else None, is_doubtful=doubtful)

    @staticmethod
    def _ask(net: Any, crop: Image, size: tuple[int, int], outputs: Sequence[str]) -> list[list[float]]:
        import cv2

        net.setInput(cv2.dnn.blobFromImage(cv2.resize(crop, size, interpolation=cv2.INTER_AREA)))
        return [[float(number) for number in output.ravel()] for output in net.forward(list(outputs))]


def _has_attributes(detection: Detection) -> bool:
    return detection.label == "person" or detection.label in _KINDS


def _verified(path: Path) -> bytes:
    """The file's bytes, checked against `SHA256SUMS` in its folder: a network is code, so an unknown one is not run."""
    sums = path.with_name("SHA256SUMS")
    try:
        content = path.read_bytes()
        known = {name: digest for digest, name in map(str.split, sums.read_text().splitlines())}
    except OSError as error:
        raise AttributesError(f"no weights at {error.filename}: reinstall bongsu with its package data") from None
    if known.get(path.name) != hashlib.sha256(content).hexdigest():
        raise AttributesError(f"{path} differs from its sha256 in {sums}: reinstall bongsu")
    return content


def _cut(image: Image, box: Box) -> Image:
    height, width = image.shape[:2]
    return image[int(box.y1 * height) : int(box.y2 * height), int(box.x1 * width) : int(box.x2 * width)]


def _is_dark(crop: Image, point: Sequence[float]) -> bool:
    """Whether the clothing at the network's point is clearly dark; hues are left out, as light tints them."""
    height, width = crop.shape[:2]
    x, y = int(min(max(point[0], 0), 1) * (width - 1)), int(min(max(point[1], 0), 1) * (height - 1))
    reach = max(2, width // 12)
    patch = crop[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return bool(patch.max(axis=2).mean() < _DARK)
