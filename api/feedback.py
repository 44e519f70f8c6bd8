"""Exports operators' reviews as pictures for training; `bongsu feedback export` calls it.

The folder is in YOLO's format: `images/`, `labels/` and `data.yaml`. A false alarm is a negative, which is a picture
with an empty label file; an acknowledged incident is a positive with the detector's boxes. `manifest.jsonl` has the
origin and the review of each picture. The pictures are the public ones, so faces and heads in them are mosaicked:
no others are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from functions.event import HAZARDS, Detection, Hazard
from store import Store
from store.records import Incident, Sighting
from store.snapshots import Snapshots

_DATA = """\
# Pictures that operators reviewed; see manifest.jsonl. Faces and heads in them are mosaicked.
# Split them by camera before you measure with them: pictures of one incident are nearly identical.
train: images
val: images
names:
"""


class ExportError(Exception):
    """The folder cannot be used; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Exported:
    """How many pictures were written, and why others were not."""

    positives: int = 0
    negatives: int = 0
    gone: int = 0
    """Pictures that are no longer kept."""
    unclear: int = 0
    """Pictures without stored boxes, or of an event that was one hazard and a false alarm of another."""


@dataclass(frozen=True, slots=True)
class _Example:
    """One picture with its labels."""

    incident: Incident
    event_id: str | None
    key: str
    boxes: tuple[Detection, ...] | None
    """None if they are unclear, empty for a negative."""


async def export(store: Store, snapshots: Snapshots, folder: Path, since: datetime | None = None) -> Exported:
    """Write the reviewed incidents into a new or empty folder.

    Raises:
        ExportError: the folder is not empty, or cannot be written.
        StoreError: the database is not available.
        SnapshotError: the pictures are not available.
    """
    try:
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True)
        if sorted(found.name for found in folder.iterdir()) != ["images", "labels"]:
            raise FileExistsError
    except FileExistsError:
        raise ExportError(f"{folder} is not empty: give a new folder, or --since the last export") from None
    except OSError as error:
        raise ExportError(f"{folder}: {error.strerror}: give a writable folder") from error
    counts = {"positives": 0, "negatives": 0, "gone": 0, "unclear": 0}
    with (folder / "manifest.jsonl").open("wb") as manifest:
        for example in _examples(await store.reviews.given(since)):
            picture = None if example.boxes is None else await snapshots.get(example.key)
            if example.boxes is None or picture is None:
                counts["unclear" if example.boxes is None else "gone"] += 1
                continue
            name = f"incident-{example.incident.id}-{Path(example.key).stem[:12]}"
            (folder / "images" / f"{name}.jpg").write_bytes(picture.jpeg)
            (folder / "labels" / f"{name}.txt").write_text("".join(map(_line, example.boxes)), "utf-8")
            manifest.write(_entry(example, f"images/{name}.jpg"))
            counts["positives" if example.boxes else "negatives"] += 1
    names = "".join(f"  {number}: {hazard}\n" for number, hazard in enumerate(HAZARDS))
    (folder / "data.yaml").write_text(_DATA + names, "utf-8")
    return Exported(**counts)


def _examples(reviewed: Sequence[tuple[Incident, Sequence[Sighting]]]) -> Iterator[_Example]:
    # One event may be a fire and a gun, only one of them real: it is in two incidents, each with a verdict.
    real: dict[str, set[Hazard]] = {}
    for incident, sightings in reviewed:
        for sighting in sightings if not incident.is_false_alarm else ():
            real.setdefault(sighting.event_id, set()).add(sighting.hazard)
    for incident, sightings in reviewed:
        shown = {sighting.snapshot_key for sighting in sightings}
        for sighting in sightings:
            assert sighting.snapshot_key is not None
            boxes = _truth(incident, sighting, real.get(sighting.event_id, set()))
            yield _Example(incident, sighting.event_id, sighting.snapshot_key, boxes)
        if incident.snapshot_key is not None and incident.snapshot_key not in shown:
            # Older releases did not store which sighting a picture belongs to; a negative needs no box.
            yield _Example(incident, None, incident.snapshot_key, () if incident.is_false_alarm else None)


def _truth(incident: Incident, sighting: Sighting, real: set[Hazard]) -> tuple[Detection, ...] | None:
    if incident.is_false_alarm:
        return None if real else ()
    return tuple(one for one in sighting.detections if one.label in real and one.box.area > 0) or None


def _line(detection: Detection) -> str:
    box, (x, y) = detection.box, detection.box.center
    number = [str(hazard) for hazard in HAZARDS].index(detection.label)
    return f"{number} {x:.6f} {y:.6f} {box.x2 - box.x1:.6f} {box.y2 - box.y1:.6f}\n"


def _entry(example: _Example, image: str) -> bytes:
    incident, review = example.incident, example.incident.review
    assert review is not None
    content = {
        "image": image,
        "incident": incident.id,
        "event": example.event_id,
        "camera": incident.camera,
        "hazard": incident.hazard,
        "confidence": incident.confidence,
        "verdict": review.verdict,
        "by": review.by,
        "at": review.at,
        "note": review.note,
        "picture": "mosaicked",
    }
    return msgspec.json.encode(content) + b"\n"
