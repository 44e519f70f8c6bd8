"""Finds faces to pixelate, with YuNet on several views of a picture; `privacy/redact.py` calls it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    # cv2's type hints allow any number type, but these images are always bytes.
    Image = np.ndarray[Any, np.dtype[Any]]
    Mask = np.ndarray[tuple[int, int], np.dtype[np.bool_]]

WEIGHTS = Path(__file__).with_name("weights") / "face_detection_yunet_2026may.onnx"

Region = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels."""

# Of 30 narrowed faces (heads turned aside) all views together find 24 at 0.5 and 30 at 0.4. At 0.3 false detections on
# fires and crashes double with no gain. The rotated views find as many leaning faces at 0.5, with fewer false ones.
_SCORE_MIN = 0.4
_SCORE_LYING = 0.5
# Standard deviation of a blur that removes a night camera's noise: it doubles the number of faces found there.
_SOFTENED = 1.5
# Tiles of the doubled picture overlap by more than the largest face that only doubling finds (13 px, so 26 there).
_TILE = 640
_OVERLAP = 96
# Standard deviation of brightness below which a picture is dull (night, mist): daylight has 50 to 80.
_DULL = 35.0


class RedactionError(Exception):
    """The picture must be withheld; the message says why."""


class Face(NamedTuple):
    """A face's box in pixels of the picture, and the network's confidence (0 to 1)."""

    region: Region
    score: float


class FaceFinder:
    """YuNet: finds faces from about 13 pixels, and from 8 in the doubled picture. Thread-safe.

    Raises:
        RedactionError: the weights are missing or unreadable.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        import cv2

        if not weights.is_file():
            raise RedactionError(f"no face detector at {weights}: reinstall bongsu with its package data")
        # At the first picture OpenCV warns on stderr that it ignores the target, which an operator need not see.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._net = cv2.FaceDetectorYN.create(str(weights), "", (320, 320), _SCORE_MIN, 0.3, 5000)
        except cv2.error as error:
            raise RedactionError(f"face detector {weights} cannot be read: {' '.join(str(error).split())}") from error
        self._lock = threading.Lock()

    def find(self, image: Image, *, is_close: bool = True) -> list[Face]:
        """Faces in a BGR picture; the same face may be returned several times.

        The views are the picture as it is (with more contrast if it is dull), denoised, doubled (in tiles), and rotated
        by a quarter turn to either side. Each view finds faces that the others miss.

        Args:
            image: a BGR picture.
            is_close: also search the doubled picture, which finds faces under 13 pixels and takes most of the time.
        """
        import cv2

        clear = _cleared(image)
        with self._lock:
            found = self._detect(image)
            found += self._detect(cv2.GaussianBlur(clear, (0, 0), _SOFTENED))
            found += self._find_lying(clear)
            return found + self._find_small(clear) if is_close else found

    def _find_small(self, image: Image) -> list[Face]:
        import cv2

        doubled = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        found = []
        for left, top in _tiles(doubled):
            tile = doubled[top : top + _TILE, left : left + _TILE]
            found += [_moved(face, left, top, 0.5) for face in self._detect(tile)]
        return found

    def _find_lying(self, image: Image) -> list[Face]:
        """Faces of lying people: YuNet finds faces that lean by up to 45 degrees, so quarter turns are enough."""
        import cv2

        height, width = image.shape[:2]
        found = []
        for (x1, y1, x2, y2), score in self._detect(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)):
            found.append(Face((y1, height - x2, y2, height - x1), score))
        for (x1, y1, x2, y2), score in self._detect(cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)):
            found.append(Face((width - y2, x1, width - y1, x2), score))
        return [face for face in found if face.score >= _SCORE_LYING]

    def _detect(self, image: Image) -> list[Face]:
        self._net.setInputSize((image.shape[1], image.shape[0]))
        _, faces = self._net.detect(image)
        found = []
        for row in [] if faces is None else faces.tolist():
            x, y, width, height = row[:4]
            found.append(Face((int(x), int(y), int(x + width) + 1, int(y + height) + 1), row[-1]))
        return found


def _cleared(image: Image) -> Image:
    """The picture, or a copy with more local contrast if it is dull: in the dark YuNet finds half as many faces."""
    import cv2

    brightness, *colours = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2LAB))
    if float(brightness.std()) >= _DULL:
        return image
    stretched = cv2.normalize(brightness, brightness.copy(), 0, 255, cv2.NORM_MINMAX)
    local = cv2.createCLAHE(clipLimit=4.0, tileGridSize=(8, 8)).apply(stretched)
    return cv2.cvtColor(cv2.merge([local, *colours]), cv2.COLOR_LAB2BGR)


def _tiles(image: Image) -> Iterator[tuple[int, int]]:
    height, width = image.shape[:2]
    for top in range(0, max(height - _OVERLAP, 1), _TILE - _OVERLAP):
        for left in range(0, max(width - _OVERLAP, 1), _TILE - _OVERLAP):
            yield left, top


def _moved(face: Face, left: int, top: int, scale: float) -> Face:
    x1, y1, x2, y2 = face.region
    region = (
        int((x1 + left) * scale),
        int((y1 + top) * scale),
        int((x2 + left) * scale) + 1,
        int((y2 + top) * scale) + 1,
    )
    return Face(region, face.score)
