"""Regions of heads and number plates, and the mosaic over them; `privacy/redact.py` combines them."""

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
# The mosaic of a nearby face should not hide these objects.
_HELD = frozenset(hazard for hazard, kind in KINDS.items() if kind.is_held)

BLOCKS_MAX = 6
"""Largest number of blocks per side of a region. A face takes half of its region's width, so it is three blocks wide:
docs/privacy.md has measurements of how recognizable that is."""

# YuNet's box ends at brow, chin and cheeks; hair, ears and neck need about the same size again.
_HEAD = 0.5
# On the demo's clips faces of 13 pixels reach this score; flames and car parts reach 0.5, with few exceptions.
_SURE = 0.8


@dataclass(frozen=True, slots=True)
class Plan:
    """Regions of a picture, applied in order: cover bands, uncover windows in them, then cover the rest in any case."""

    bands: list[Region] = field(default_factory=list)
    windows: list[Region] = field(default_factory=list)
    heads: list[Region] = field(default_factory=list)

    def with_faces(self, faces: Sequence[Face]) -> Plan:
        """A copy that covers these faces too."""
        return Plan(self.bands, self.windows, [*self.heads, *(_grow(face.region, _HEAD) for face in faces)])


def plan(
    detections: Sequence[Detection], faces: Sequence[Face], width: int, height: int, *, with_plates: bool = False
) -> Plan:
    """Decide which regions to cover in a picture of `width` by `height` pixels.

    Every face is covered, and the region where each person's head must be. A gun or a knife held near the face stays
    visible only where it cannot show a face: inside its own box, if that person's face was found elsewhere.
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
    """A copy of `image` with a plan's regions covered."""
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
    """The pixels that a plan covers: bool, shape (height, width)."""
    import numpy as np

    mask = np.zeros((height, width), dtype=np.bool_)
    for regions, is_covered in ((made.bands, True), (made.windows, False), (made.heads, True)):
        for region in regions:
            mask[_slices(region, mask)] = is_covered
    return mask


def head_region(person: Box, width: int, height: int, *, is_known: bool = False) -> Region:
    """The region that must contain a person's head, in pixels of a picture of `width` by `height`.

    For an upright box it is the top 30 %, or more where only head and shoulders are in view (then the box is about as
    wide as tall), plus a margin on three sides. In a box wider than tall the person may lie or bend, with the head
    anywhere: the whole box, or its upper half if the head is known to be there (`is_known`).
    """
    x1, y1, x2, y2 = person.x1 * width, person.y1 * height, person.x2 * width, person.y2 * height
    across, down = x2 - x1, y2 - y1
    if across > down and not is_known:
        return _grow((int(x1), int(y1), int(x2) + 1, int(y2) + 1), 0.05)
    share = 0.5 if across > down else max(0.3, min(0.6 * across / down, 0.6)) if down > 0 else 1.0
    return (int(x1 - 0.15 * across), int(y1 - 0.06 * down), int(x2 + 0.15 * across) + 1, int(y1 + share * down) + 1)


def plate_region(vehicle: Box, width: int, height: int) -> Region:
    """The region that must contain a vehicle's plate: the lower part of its box, at full width for oblique views."""
    x1, y1, x2, y2 = _pixels(vehicle, width, height)
    down = y2 - y1
    return x1, y1 + int(0.4 * down), x2, y2 + int(0.03 * down) + 1


def pixelate(image: Image, region: Region) -> None:
    """Reduce a region to at most 6 by 6 blocks of one colour, in place, so that a face of any size keeps little detail.

    Blocks are divided at whole pixels, and each has the mean colour of its own pixels alone.
    """
    rows, columns = _slices(region, image)
    part = image[rows, columns]
    if part.size == 0:
        return
    # At most half as many blocks as pixels: otherwise a region of a few pixels would not change.
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
    """Whether exactly one face is this person's: confident, high in the box, of plausible size, in no other box."""
    box = _pixels(person, width, height)
    across, down = box[2] - box[0], box[3] - box[1]
    if across > 1.6 * down:
        # Too wide for a standing person: somebody is lying here, or there are two people.
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
    """A region clipped to the picture, as rows and columns; it may be empty."""
    x1, y1, x2, y2 = (max(side, 0) for side in region)
    return slice(y1, min(y2, image.shape[0])), slice(x1, min(x2, image.shape[1]))


def _grow(region: Region, share: float) -> Region:
    x1, y1, x2, y2 = region
    across, down = int((x2 - x1) * share) + 1, int((y2 - y1) * share) + 1
    return x1 - across, y1 - down, x2 + across, y2 + down


def _area(region: Region) -> int:
    return max(0, region[2] - region[0]) * max(0, region[3] - region[1])
