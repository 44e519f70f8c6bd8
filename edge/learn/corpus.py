"""Makes a corpus of reviewed alerts: the export of `bongsu feedback`, split by camera, with the corpora that are added.

It is a corpus as `detect.training` reads it (`manifest.csv`, and `images/` and `labels/` of each split). The split
`test` is never trained on: it decides between two versions.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.errors import FleetError

COLUMNS = ("file", "source_repo", "split", "classes", "scene", "sha256")
NEGATIVE = "negative"
FALSE_ALARM = "false_alarm"
_MANY_CAMERAS = 12
_TEST_SHARE, _VAL_SHARE = 0.25, 0.15


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a corpus: where it is, its split, and the name of what it shows."""

    path: Path
    labels: Path
    split: str
    label: str


class _Reviewed(msgspec.Struct):
    image: str
    camera: str
    incident: int
    hazard: str
    verdict: str


def write_corpus(exported: Path, more: Sequence[Path], folder: Path) -> Counter[str]:
    """Write the corpus.

    Args:
        exported: What `bongsu feedback export` wrote.
        more: Corpora that are added as they are, splits included.
        folder: A new one.

    Returns:
        How many pictures are in each split.

    Raises:
        FleetError: a file is missing or unreadable, or there are too few pictures to train and to judge.
    """
    reviewed = _read_reviewed(exported)
    rows = [_row(exported, entry, split, folder) for entry, split in zip(reviewed, _splits(reviewed), strict=True)]
    for number, corpus in enumerate(more):
        rows += _added(corpus, folder, f"c{number}-")
    counts = Counter(row["split"] for row in rows)
    if missing := [split for split in ("train", "val", "test") if not counts[split]]:
        raise FleetError(
            f"{len(reviewed)} reviewed pictures are too few: none is left for {missing[0]}. Review more alerts, of at "
            "least three incidents, or add a corpus with --with"
        )
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return counts


def read_test(folder: Path) -> list[Picture]:
    """The pictures of a corpus that were kept from training.

    Raises:
        FleetError: it has no manifest, or none of that split.
    """
    pictures = [picture for picture in _read_manifest(folder) if picture.split == "test"]
    if not pictures:
        raise FleetError(f"{folder} has no picture of the split test")
    return pictures


def split_groups(sizes: Counter[str]) -> dict[str, str]:
    """Assign whole groups of pictures to splits, by their names and sizes; the same way each time."""
    order = sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest())
    total = sum(sizes.values())
    assigned: dict[str, str] = {}
    filled: Counter[str] = Counter()
    for name in order:
        left = len(order) - len(assigned)
        if not filled["test"] or (filled["test"] < _TEST_SHARE * total and left > 2):
            split = "test"
        elif not filled["val"] or (filled["val"] < _VAL_SHARE * total and left > 1):
            split = "val"
        else:
            split = "train"
        assigned[name] = split
        filled[split] += sizes[name]
    return assigned


def _splits(reviewed: Sequence[_Reviewed]) -> list[str]:
    """The split of each picture.

    Pictures of one camera look alike, so a camera is in one split; with few cameras an incident is. What shows a hazard
    and what shows none is split apart, so that both can be judged.
    """
    by_camera = len({entry.camera for entry in reviewed}) >= _MANY_CAMERAS
    groups = [entry.camera if by_camera else f"incident {entry.incident}" for entry in reviewed]
    hazardous = {name for name, entry in zip(groups, reviewed, strict=True) if entry.verdict != FALSE_ALARM}
    shown = split_groups(Counter(name for name in groups if name in hazardous))
    nothing = split_groups(Counter(name for name in groups if name not in hazardous))
    return [{**shown, **nothing}[name] for name in groups]


def _read_reviewed(exported: Path) -> list[_Reviewed]:
    path = exported / "manifest.jsonl"
    try:
        return [msgspec.json.decode(line, type=_Reviewed) for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}: `bongsu feedback export {exported}` writes it") from None
    except msgspec.MsgspecError as error:
        raise FleetError(f"{path} is not an export of feedback: {error}") from None


def _row(exported: Path, entry: _Reviewed, split: str, folder: Path) -> dict[str, str]:
    picture = exported / entry.image
    labels = picture.parents[1] / "labels" / f"{picture.stem}.txt"
    label = NEGATIVE if entry.verdict == FALSE_ALARM else entry.hazard
    return _take(picture, labels, split, folder, prefix="r-", facts={"source_repo": "feedback", "classes": label,
                 "scene": f"{entry.camera} {entry.incident}"})  # fmt: skip


def _added(corpus: Path, folder: Path, prefix: str) -> list[dict[str, str]]:
    rows = []
    for row, picture in zip(_rows(corpus), _read_manifest(corpus), strict=True):
        kept = {key: row[key] for key in ("source_repo", "classes", "scene")}
        rows.append(_take(picture.path, picture.labels, picture.split, folder, prefix=prefix, facts=kept))
    return rows


def _take(
    picture: Path, labels: Path, split: str, folder: Path, *, prefix: str, facts: dict[str, str]
) -> dict[str, str]:
    target = folder / split / "images" / f"{prefix}{picture.name}"
    target_labels = folder / split / "labels" / f"{target.stem}.txt"
    for path in (target, target_labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for source, there in ((picture, target), (labels, target_labels)):
            there.unlink(missing_ok=True)
            try:
                os.link(source.resolve(), there)
            except OSError:  # another file system
                shutil.copyfile(source, there)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
    except OSError as error:
        raise FleetError(f"{error.filename}: {error.strerror}") from None
    return {"file": f"{split}/images/{target.name}", "split": split, "sha256": digest, **facts}


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "manifest.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise FleetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    for row in rows:
        if any(row.get(column) is None for column in COLUMNS):
            raise FleetError(f"{path}: a row must have {', '.join(COLUMNS)} (docs/detector.md)")
    return rows


def _read_manifest(folder: Path) -> list[Picture]:
    found = []
    for row in _rows(folder):
        path = folder / row["file"]
        labels = path.parents[1] / "labels" / f"{path.stem}.txt"
        found.append(Picture(path, labels, row["split"], row["classes"]))
    return found
