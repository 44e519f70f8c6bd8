"""Pictures for the public: faces and heads are pixelated here, and only here is a `Redacted` made.

A sink takes no bytes, it takes a `Redacted`. There are three ways to one: `redact` (from a camera's frame),
`redacted_of` (from the snapshot of a `captioned` event, which the captioner made by `redact`) and `read_back` (from the
public snapshot store, which keeps nothing else). The constructor wants a seal that this module keeps, so that nobody
makes one by accident.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functions.event import Box, Detection, Event, Frame
from functions.jpeg import PictureError, check_jpeg

if TYPE_CHECKING:
    import numpy as np

    # cv2 declares any number type where only bytes come out.
    Image = np.ndarray[Any, np.dtype[Any]]

WEIGHTS = Path(__file__).with_name("weights") / "face_detection_yunet_2026may.onnx"
PERSON = "person"

_SEAL = object()
_SIDE_MIN = 16
# What is published is no larger than this, so that a face too small for YuNet here is too small to know somebody by.
_PUBLIC_SIDE_MAX = 1280
_BLOCKS_MAX = 6
_QUALITY = 85
# On the demo's clips faces of 13 pixels score 0.8 and more, flames and car parts up to 0.5 with few exceptions. The
# usual 0.9 would spare them all, but a mosaic too many costs little, and a face too many does not.
_FACE_SCORE = 0.5
# Tiles of the doubled picture overlap by more than a face that only doubling finds (about 13 px, so 26 there).
_TILE = 640
_OVERLAP = 96

Region = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels."""


class RedactionError(Exception):
    """The picture must be withheld; the message says why."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A JPEG that may be shown to the public. Made by `redact`, `redacted_of` and `read_back` alone."""

    jpeg: bytes
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Redacted picture is made by redact(), redacted_of() or read_back(), not by hand")


class FaceFinder:
    """YuNet: finds faces from about 13 pixels, and from 8 as it looks at the picture doubled too. Safe across threads.

    Raises:
        RedactionError: the weights are missing or unreadable.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        import cv2

        if not weights.is_file():
            raise RedactionError(f"no face detector at {weights}: reinstall bongsu with its package data")
        # OpenCV warns on stderr, at the first picture, that it takes no target: that is no news to an operator.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._net = cv2.FaceDetectorYN.create(str(weights), "", (320, 320), _FACE_SCORE, 0.3, 5000)
        except cv2.error as error:
            raise RedactionError(f"face detector {weights} cannot be read: {_one_line(error)}") from error
        self._lock = threading.Lock()

    def find(self, image: Image) -> list[Region]:
        """Faces in a BGR picture, as pixels of it; the same face may come twice."""
        import cv2

        height, width = image.shape[:2]
        doubled = cv2.resize(image, (width * 2, height * 2), interpolation=cv2.INTER_LINEAR)
        with self._lock:
            found = self._detect(image, 1.0, 0, 0)
            for top in _tile_starts(height * 2):
                for left in _tile_starts(width * 2):
                    found += self._detect(doubled[top : top + _TILE, left : left + _TILE], 0.5, left, top)
        return found

    def _detect(self, image: Image, scale: float, left: int, top: int) -> list[Region]:
        self._net.setInputSize((image.shape[1], image.shape[0]))
        _, faces = self._net.detect(image)
        regions = []
        for x, y, width, height in [] if faces is None else faces[:, :4].tolist():
            x1, y1 = (x + left) * scale, (y + top) * scale
            regions.append((int(x1), int(y1), int(x1 + width * scale) + 1, int(y1 + height * scale) + 1))
        return regions


def redact(frame: Frame, detections: Sequence[Detection], searched: Sequence[str], faces: FaceFinder) -> Redacted:
    """Pixelate every face and every person's head, and write the picture anew, without what was attached to it.

    Args:
        frame: a camera's frame.
        detections: boxes in that frame.
        searched: labels that the detector looked for; without "person" in it nobody knows where people are.
        faces: finds those that the detector did not box.

    Raises:
        RedactionError: it cannot be done for certain, so the picture must be withheld.
    """
    import cv2

    if PERSON not in searched:
        raise RedactionError("the detector did not look for people")
    _check(frame.jpeg)
    try:
        image = _decode(frame.jpeg)
        height, width = image.shape[:2]
        people = [d.box for d in detections if d.label == PERSON]
        regions = [head_region(box, width, height) for box in people]
        # All faces are looked for before anything is covered: a mosaic beside it can hide a face from the network.
        regions += [_grow(face, 0.3) for face in faces.find(image)]
        for region in regions:
            pixelate(image, region)
        is_written, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    except (cv2.error, MemoryError, ValueError) as error:
        raise RedactionError(f"the picture could not be processed: {_one_line(error)}") from error
    if not is_written:
        raise RedactionError("the picture could not be written")
    return Redacted(jpeg.tobytes(), _SEAL)


def redacted_of(captioned: Event) -> Redacted | None:
    """The mosaicked picture of a `captioned` event; None where it was withheld.

    Raises:
        TypeError: the event is of another type: its pictures are not for the public.
    """
    if captioned.type != "captioned":
        raise TypeError(f"only a captioned event holds a redacted picture, got {captioned.type!r}")
    return None if captioned.snapshot is None else Redacted(captioned.snapshot, _SEAL)


def read_back(jpeg: bytes) -> Redacted:
    """A picture from the public snapshot store, for `notify/map/snapshots.py` alone: only `Redacted` was put there."""
    return Redacted(jpeg, _SEAL)


def head_region(person: Box, width: int, height: int) -> Region:
    """Where the head of a person must be, in pixels of a picture that is `width` by `height`.

    For an upright box its top 30 %, and a little beyond on three sides; a box wider than tall may hold somebody lying
    or bent, whose head can be anywhere in it: all of it.
    """
    x1, y1, x2, y2 = person.x1 * width, person.y1 * height, person.x2 * width, person.y2 * height
    across, down = x2 - x1, y2 - y1
    if across > down:
        return _grow((int(x1), int(y1), int(x2) + 1, int(y2) + 1), 0.05)
    return (int(x1 - 0.15 * across), int(y1 - 0.06 * down), int(x2 + 0.15 * across) + 1, int(y1 + 0.3 * down) + 1)


def pixelate(image: Image, region: Region) -> None:
    """Turn a region into at most 6 by 6 even blocks, in place: so little is left of a face of any size."""
    import cv2

    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(region[0], 0), max(region[1], 0), min(region[2], width), min(region[3], height)
    if x1 >= x2 or y1 >= y2:
        return
    part = image[y1:y2, x1:x2]
    # Half as many blocks as pixels at most: a region of a few pixels would else stay as it is.
    blocks = (max(1, min(_BLOCKS_MAX, (x2 - x1) // 2)), max(1, min(_BLOCKS_MAX, (y2 - y1) // 2)))
    small = cv2.resize(part, blocks, interpolation=cv2.INTER_AREA)
    image[y1:y2, x1:x2] = cv2.resize(small, (x2 - x1, y2 - y1), interpolation=cv2.INTER_NEAREST)


def _check(jpeg: bytes) -> None:
    """Refuse what is cut off, turned, or too large or small to be decoded, by what the file declares."""
    try:
        width, height = check_jpeg(jpeg)
    except PictureError as error:
        raise RedactionError(str(error)) from error
    if min(width, height) < _SIDE_MIN:
        raise RedactionError(f"the picture is {width}x{height}, nothing can be seen on less than {_SIDE_MIN} pixels")
    if b"Exif\0\0" in jpeg[:65536]:
        raise RedactionError("the picture carries Exif, which may turn it: its boxes could be elsewhere")


def _decode(jpeg: bytes) -> Image:
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise RedactionError("the picture cannot be decoded")
    scale = _PUBLIC_SIDE_MAX / max(image.shape[:2])
    if scale < 1:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def _tile_starts(length: int) -> range:
    return range(0, max(length - _OVERLAP, 1), _TILE - _OVERLAP)


def _grow(region: Region, share: float) -> Region:
    x1, y1, x2, y2 = region
    across, down = int((x2 - x1) * share) + 1, int((y2 - y1) * share) + 1
    return x1 - across, y1 - down, x2 + across, y2 + down


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
