"""The kind `object`: for a JPEG, boxes from the shipped hazard network or scene network."""

from __future__ import annotations

from typing import Any

from functions import Detection
from functions.jpeg import PictureError
from models.network import SCENE, Network, Spec, decode_jpeg, device_from_environment, hazard_spec
from sessions.kinds import InputError


def _spec(name: str) -> Spec:
    return SCENE if name == "scene" else hazard_spec()


class Detector:
    """One network."""

    takes = "picture"

    def __init__(self, name: str) -> None:
        """Load `hazard` or `scene`.

        Raises:
            ModelError: the network cannot be loaded.
        """
        # One thread: a worker has one client, and other workers need the other cores.
        self._network = Network(_spec(name), 1, device_from_environment())

    def detect(self, jpeg: bytes) -> list[Detection]:
        """Detections in a picture, most confident first.

        Raises:
            InputError: it is not a usable JPEG.
        """
        try:
            image = decode_jpeg(jpeg, enough_px=self._network.size_px)
        except PictureError as error:
            raise InputError(str(error), "send a whole JPEG of at most 40 megapixels") from None
        return self._network.detect([image])[0]

    def run(self, given: Any) -> dict[str, Any]:
        """Boxes as x1, y1, x2, y2 in fractions of the picture, origin top-left."""
        return {"boxes": [box_of(detection) for detection in self.detect(given)]}


def box_of(detection: Detection) -> dict[str, Any]:
    """A detection as JSON for clients."""
    box = detection.box
    return {
        "label": detection.label,
        "confidence": round(detection.confidence, 4),
        "x1": round(box.x1, 5),
        "y1": round(box.y1, 5),
        "x2": round(box.x2, 5),
        "y2": round(box.y2, 5),
    }
