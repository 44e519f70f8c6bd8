"""Where heads and number plates must be, and the mosaic over them; `privacy/redact.py` puts them together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from functions.event import Box, Detection
from functions.hazards import KINDS
from privacy.faces import Face, Region

if TYPE_CHECKING:
    from privacy.faces import Image, Mask

PERSON = "person"
VEHICLES = ("car", "motorcycle", "bus", "truck")
# What the picture is about should not be lost in the mosaic of a face beside it.
_HELD = frozenset(hazard for hazard, kind in KINDS.items() if kind.is_held)

BLOCKS_MAX = 6
"""A region keeps at most so many blocks a side. A face takes half of its region's width, so three blocks are left of
it across: docs/privacy.md says what that is worth."""

# YuNet's box ends at brow, chin and cheeks; hair, ears and neck are about as much again.
_HEAD = 0.5
# On the demo's clips faces of 13 pixels score so much, flames and car parts up to 0.5 with few exceptions.
_SURE = 0.8


@dataclass(frozen=True, slots=True)
class Plan:
    """What is covered. Bands first, then the windows are laid open, and last comes what must be covered in any case."""

    bands: list[Region] = field(default_factory=list)
    windows: list[Region] = field(default_factory=list)
    heads: list[Region] = field(default_factory=list)

    def with_faces(self, faces: Sequence[Face]) -> Plan:
        """The same, and these covered too."""
        return Plan(self.bands, self.windows, [*self.heads, *(_grow(face.region, _HEAD) for face in faces)])


def plan(
    detections: Sequence[Detection], faces: Sequence[Face], width: int, height: int, *, with_plates: bool = False
) -> Plan:
    """Decide what to cover in a picture of `width` by `height` pixels.

    Every face is covered, and every person's head where it must be. A gun or a knife that is held beside the face stays
    visible where that is certain to show nobody: inside its own box, if that person's face was found elsewhere.
    """
    made = Plan().with_faces(faces)
    people = [detection.box for detection in detections if detection.label == PERSON]
    held = [_pixels(detection.box, width, height) for detection in detections if detection.label in _HELD]
    for person in people:
        rivals = [other for other in people if other is not person]
        if held and _is_head_known(person, rivals, faces, width, height):
            made.bands.append(head_region(person, width, height, is_known=True))
        else:
            made.heads.append(head_region(person, width, height))
    made.windows.extend(window for window in held if _area(window) <= 0.1 * width * height)
    if with_plates:
        vehicles = [detection.box for detection in detections if detection.label in VEHICLES]
        made.heads.extend(plate_region(box, width, height) for box in vehicles)
    return made


def cover(image: Image, made: Plan) -> Image:
    """Carry out a plan: the covered picture. `image` stays as it is."""
    covered = image.copy()
    for region in made.bands:
        pixelate(covered, region)
    for region in made.windows:
        rows, columns = _slices(region, image)
        covered[rows, columns] = image[rows, columns]
    for region in made.heads:
        pixelate(covered, region)
    return covered


def covered_mask(made: Plan, width: int, height: int) -> Mask:
    """Which pixels a plan covers: bool of shape (height, width)."""
    import numpy as np

    mask = np.zeros((height, width), dtype=np.bool_)
    for regions, is_covered in ((made.bands, True), (made.windows, False), (made.heads, True)):
        for region in regions:
            mask[_slices(region, mask)] = is_covered
    return mask


def head_region(person: Box, width: int, height: int, *, is_known: bool = False) -> Region:
    """Where the head of a person must be, in pixels of a picture that is `width` by `height`.

    For an upright box its top 30 %, or more where only head and shoulders are in view (then the box is about as wide
    as tall), and a little beyond on three sides. A box wider than tall may hold somebody lying or bent, whose head can
    be anywhere in it: all of it; its upper half where the head is known to be there (`is_known`).
    """
    x1, y1, x2, y2 = person.x1 * width, person.y1 * height, person.x2 * width, person.y2 * height
    across, down = x2 - x1, y2 - y1
    if across > down and not is_known:
        return _grow((int(x1), int(y1), int(x2) + 1, int(y2) + 1), 0.05)
    share = 0.5 if across > down else max(0.3, min(0.6 * across / down, 0.6)) if down > 0 else 1.0
    return (int(x1 - 0.15 * across), int(y1 - 0.06 * down), int(x2 + 0.15 * across) + 1, int(y1 + share * down) + 1)


def plate_region(vehicle: Box, width: int, height: int) -> Region:
    """Where the plate of a vehicle must be: the lower part of its box, over its whole width, as it may stand askew."""
    x1, y1, x2, y2 = _pixels(vehicle, width, height)
    down = y2 - y1
    return x1, y1 + int(0.4 * down), x2, y2 + int(0.03 * down) + 1


def pixelate(image: Image, region: Region) -> None:
    """Turn a region into at most 6 by 6 even blocks, in place: so little is left of a face of any size.

    The blocks divide the region at whole pixels, and each is the mean of its own pixels and of no others.
    """
    rows, columns = _slices(region, image)
    part = image[rows, columns]
    if part.size == 0:
        return
    # Half as many blocks as pixels at most: a region of a few pixels would else stay as it is.
    across = _edges(part.shape[1])
    for top, bottom in _edges(part.shape[0]):
        for left, right in across:
            block = part[top:bottom, left:right]
            block[:] = block.mean(axis=(0, 1)).round()


def _edges(length: int) -> list[tuple[int, int]]:
    count = max(1, min(BLOCKS_MAX, length // 2))
    edges = [round(length * number / count) for number in range(count + 1)]
    return list(itertools.pairwise(edges))


def _is_head_known(person: Box, rivals: Sequence[Box], faces: Sequence[Face], width: int, height: int) -> bool:
    """Whether one face is surely this person's: certain, high in the box, of a fit size, alone, and nobody else's."""
    box = _pixels(person, width, height)
    across, down = box[2] - box[0], box[3] - box[1]
    if across > 1.6 * down:
        # Too wide for one who stands: somebody lies here, or there are two.
        return False
    inside = [face for face in faces if _holds(box, face)]
    best = max(inside, key=lambda face: face.score, default=None)
    if best is None or best.score < _SURE:
        return False
    (_, y1, _, y2), of_box = best.region, (best.region[3] - best.region[1]) / max(down, 1)
    is_alone = all(_holds(_grow(best.region, 0.25), face) for face in inside)
    is_contested = any(_holds(head_region(rival, width, height), best) for rival in rivals)
    return (y1 + y2) / 2 < box[1] + 0.5 * down and 0.05 < of_box < 0.6 and is_alone and not is_contested


def _holds(region: Region, face: Face) -> bool:
    x1, y1, x2, y2 = face.region
    return region[0] <= (x1 + x2) / 2 <= region[2] and region[1] <= (y1 + y2) / 2 <= region[3]


def _pixels(box: Box, width: int, height: int) -> Region:
    return int(box.x1 * width), int(box.y1 * height), int(box.x2 * width) + 1, int(box.y2 * height) + 1


def _slices(region: Region, image: Image) -> tuple[slice, slice]:
    """A region cut to the picture, as rows and columns; it may be empty."""
    x1, y1, x2, y2 = (max(side, 0) for side in region)
    return slice(y1, min(y2, image.shape[0])), slice(x1, min(x2, image.shape[1]))


def _grow(region: Region, share: float) -> Region:
    x1, y1, x2, y2 = region
    across, down = int((x2 - x1) * share) + 1, int((y2 - y1) * share) + 1
    return x1 - across, y1 - down, x2 + across, y2 + down


def _area(region: Region) -> int:
    return max(0, region[2] - region[0]) * max(0, region[3] - region[1])
