"""Pictures for the public: pixelates faces and heads; only this module creates a `Redacted`.

A sink takes a `Redacted`, never bytes. Four sources create one: `redact` (from a camera's frame), `shrink` (from
another `Redacted`), `redacted_of` and `thumbnail_of` (from a `captioned` event, whose pictures the captioner made by
the first two) and `read_back` (from the public snapshot store, which holds nothing else). The constructor needs a
private seal of this module, so that none is created by accident.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Literal

from functions.event import Captioned, Detection, Event, Frame
from functions.jpeg import PictureError, check_jpeg
from functions.reasons import one_line
from privacy.faces import Face, FaceFinder, RedactionError
from privacy.mosaic import PERSON, VEHICLES, cover, covered_mask, plan

if TYPE_CHECKING:
    from privacy.faces import Image, Mask

__all__ = [
    "FaceFinder",
    "Redacted",
    "RedactionError",
    "read_back",
    "redact",
    "redacted_of",
    "require_redacted",
    "shrink",
    "thumbnail_of",
    "uncovered",
]

_SEAL = object()
_SIDE_MIN = 16
# Published pictures are no larger than this, so that a face too small for YuNet is too small to be recognized.
_PUBLIC_SIDE_MAX = 1280
_QUALITY = 85
_THUMBNAIL_WIDTH = 320
_THUMBNAIL_QUALITY = 75
_LOOKS_MAX = 3
# A detection covered to this share is the mosaic itself: the network's boxes are not exact to the pixel.
_COVERED = 0.85
_NAMES = {PERSON: "people"}


@dataclass(frozen=True, slots=True)
class Redacted:
    """A JPEG that may be shown to the public. Only the functions below create it."""

    jpeg: bytes
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Redacted picture is made by redact() and the functions based on it, not by hand")


def redact(
    frame: Frame,
    detections: Sequence[Detection],
    searched: Sequence[str],
    faces: FaceFinder,
    *,
    with_plates: bool = False,
) -> Redacted:
    """Pixelate every face and every person's head, and encode the picture again, without its metadata.

    Args:
        frame: a camera's frame.
        detections: boxes in that frame.
        searched: labels that the detector can find; without "person" the positions of people are unknown.
        faces: finds faces of people that the detector missed.
        with_plates: pixelate the lower part of every vehicle too.

    Raises:
        RedactionError: complete redaction is not certain, so the picture must be withheld.
    """
    import cv2

    for label in (PERSON, *(VEHICLES if with_plates else ())):
        if label not in searched:
            raise RedactionError(f"the detector did not look for {_NAMES.get(label, label)}")
    _check(frame.jpeg)
    try:
        covered = _covered(_decode(frame.jpeg), detections, faces, with_plates)
        is_written, jpeg = cv2.imencode(".jpg", covered, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    except (cv2.error, MemoryError, ValueError) as error:
        raise RedactionError(f"the picture could not be processed: {one_line(error)}") from error
    if not is_written:
        raise RedactionError("the picture could not be written")
    return Redacted(jpeg.tobytes(), _SEAL)


def shrink(picture: Redacted) -> Redacted:
    """The same picture, 320 pixels wide, for lists; a smaller one keeps its size.

    Raises:
        RedactionError: it cannot be encoded.
    """
    import cv2

    require_redacted(picture)
    try:
        image = _decode(picture.jpeg)
        height, width = image.shape[:2]
        if width <= _THUMBNAIL_WIDTH:
            return picture
        size = (_THUMBNAIL_WIDTH, max(1, round(height * _THUMBNAIL_WIDTH / width)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        is_written, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _THUMBNAIL_QUALITY])
    except (cv2.error, MemoryError) as error:
        raise RedactionError(f"the thumbnail could not be made: {one_line(error)}") from error
    if not is_written:
        raise RedactionError("the thumbnail could not be written")
    return Redacted(jpeg.tobytes(), _SEAL)


def redacted_of(captioned: Event) -> Redacted | None:
    """The mosaicked picture of a `captioned` event; None if it was withheld.

    Raises:
        TypeError: the event is of another type: its pictures are not for the public.
    """
    return _carried(captioned, "snapshot")


def thumbnail_of(captioned: Event) -> Redacted | None:
    """The thumbnail of that picture; None if it was withheld, or the captioner made none.

    Raises:
        TypeError: the event is of another type: its pictures are not for the public.
    """
    return _carried(captioned, "thumbnail")


def require_redacted(picture: object) -> None:
    """Refuse anything but a `Redacted`, at run time too; every sink calls it before it publishes.

    Raises:
        TypeError: it is of another type.
    """
    if type(picture) is not Redacted:
        raise TypeError(f"only a Redacted picture may be shown to the public, got {type(picture).__name__}")


def read_back(jpeg: bytes) -> Redacted:
    """A picture from the public snapshot store, which holds only `Redacted`; only `store/snapshots.py` calls it."""
    return Redacted(jpeg, _SEAL)


def _carried(captioned: Event, name: Literal["snapshot", "thumbnail"]) -> Redacted | None:
    if not isinstance(captioned, Captioned):
        raise TypeError(f"only a captioned event holds a redacted picture, got {captioned.type!r}")
    jpeg = captioned.snapshot if name == "snapshot" else captioned.thumbnail
    return None if jpeg is None else Redacted(jpeg, _SEAL)


def _covered(image: Image, detections: Sequence[Detection], faces: FaceFinder, with_plates: bool) -> Image:
    """The picture with everything covered, searched again until no face is found outside the mosaics.

    A face near a larger one may be found only once that one is covered; a face inside a mosaic is the mosaic itself.
    This does not affect small faces, so the doubled picture, which takes most of the time, is searched once.
    """
    height, width = image.shape[:2]
    made = plan(detections, faces.find(image), width, height, with_plates=with_plates)
    for _ in range(_LOOKS_MAX):
        covered = cover(image, made)
        left = uncovered(faces.find(covered, is_close=False), covered_mask(made, width, height))
        if not left:
            return covered
        made = made.with_faces(left)
    raise RedactionError(f"faces are still found after {_LOOKS_MAX} passes")


def uncovered(found: Sequence[Face], mask: Mask) -> list[Face]:
    """Faces that are not fully covered; the part of a box outside the picture counts as covered."""
    height, width = mask.shape
    left = []
    for face in found:
        x1, y1, x2, y2 = face.region
        part = mask[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
        if part.size and part.mean() < _COVERED:
            left.append(face)
    return left


def _check(jpeg: bytes) -> None:
    """Refuse a truncated, rotated, too large or too small picture, by its header, before it is decoded."""
    try:
        width, height = check_jpeg(jpeg)
    except PictureError as error:
        raise RedactionError(str(error)) from error
    if min(width, height) < _SIDE_MIN:
        raise RedactionError(f"the picture is {width}x{height}, each side must have at least {_SIDE_MIN} pixels")
    if b"Exif\0\0" in jpeg[:65536]:
        raise RedactionError("the picture has Exif data, which may rotate it: its boxes may not fit")


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
