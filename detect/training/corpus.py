"""Labelled pictures and where they came from: a folder whose `manifest.csv` names each with its source and sha256.

Training, calibration and evaluation read a corpus only through this module, so all of them use exactly the recorded
pictures. It needs neither torch nor ultralytics.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from functions import HAZARDS, Box
from functions.hazards import KINDS
from models.letterbox import Image

Split = Literal["train", "val", "test"]
NEGATIVE = "negative"
WEAPONS = frozenset(name for name, kind in KINDS.items() if kind.is_held)
UNKNOWN_WEAPON = "weapon"
"""A weapon that may be a gun or a knife: it is not a negative for either."""
LABELS = (*HAZARDS, UNKNOWN_WEAPON)
"""The classes of a label file, by number: the hazards, then a weapon of unknown kind."""
_HAIR = 1.01
_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}


class CorpusError(ValueError):
    """A corpus cannot be used; the message names the file and the fix."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One labelled hazard: its class number (an index of `LABELS`) and where it is."""

    number: int
    box: Box

    def may_be(self, number: int) -> bool:
        """Whether it is the hazard of that number, or a weapon of unknown kind that could be that hazard."""
        return self.number == number or (LABELS[self.number] == UNKNOWN_WEAPON and LABELS[number] in WEAPONS)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture.

    Attributes:
        path: the picture.
        source: who collected it; sources are held out as a whole.
        scene: pictures of one scene are never in two splits.
        label: the hazard that it was collected for, "weapon" for one of unknown kind, or "negative".
    """

    path: Path
    split: Split
    source: str
    scene: str
    label: str
    sha256: str

    @property
    def labels_path(self) -> Path:
        """Its YOLO label file."""
        return self.path.parents[1] / "labels" / f"{self.path.stem}.txt"

    def truths(self) -> list[Truth]:
        """Read its labels.

        Raises:
            CorpusError: a line is not a label.
        """
        lines = self.labels_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [_truth(line, self.labels_path) for line in lines if line.strip()]


def read_corpus(folder: Path, *, check: bool = True) -> list[Sample]:
    """Read a corpus, in the order of its manifest.

    Args:
        folder: holds `manifest.csv` and, for each split, `images/` and `labels/`.
        check: compare each picture with its sha256; 95 MB take half a second.

    Raises:
        CorpusError: no manifest, an invalid row or label, a missing picture or label file, or a picture that is not
            the recorded one.
    """
    manifest = folder / "manifest.csv"
    try:
        # Spreadsheets write a byte order mark before the first column's name.
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            samples = [_sample(folder.resolve(), row, f"{manifest}, line {rows.line_num}") for row in rows]
    except OSError as error:
        raise CorpusError(f"no corpus at {folder}: {error.strerror}: manifest.csv; see docs/detector.md") from None
    except KeyError as error:
        raise CorpusError(f"{manifest} has no column {error}; see docs/detector.md") from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{manifest} must be UTF-8: {error}") from None
    for sample in samples:
        _check(sample, check)
        sample.truths()
    return samples


def read_image(sample: Sample) -> Image:
    """Decode a picture of the corpus.

    Raises:
        CorpusError: it cannot be decoded.
    """
    image = cv2.imread(str(sample.path))
    if image is None:
        raise CorpusError(f"{sample.path} cannot be decoded")
    return np.asarray(image, np.uint8)


def digest(samples: Iterable[Sample]) -> str:
    """One sha256 over all pictures and labels, for a model's card."""
    total = hashlib.sha256()
    for sample in sorted(samples, key=lambda s: s.path.name):
        total.update(f"{sample.path.name} {sample.sha256}\n".encode())
        total.update(sample.labels_path.read_bytes())
    return total.hexdigest()


def read_hard(path: Path) -> frozenset[str]:
    """Names of the hard pictures that `detect.training.hard_examples` listed.

    Raises:
        CorpusError: the file is not such a list.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return frozenset(row["picture"] for row in csv.DictReader(file))
    except (OSError, KeyError) as error:
        raise CorpusError(
            f"{path} is not a list of hard pictures ({error}): `detect.training.hard_examples` writes one"
        ) from None


def sampling_weights(
    samples: Sequence[Sample], hard: Collection[str] = (), times: float = 1.0, *, even: bool = True
) -> list[float]:
    """The probability of drawing each picture: labels are drawn equally often, and no source or scene dominates.

    A label's share is divided among its pictures by the inverse square root of the number of pictures in their source
    and scene, so that each of the 120 staged guns of a real camera is drawn more often than each of 690 stock photos.

    Args:
        samples: the pictures.
        hard: names of pictures to draw more often than others of their kind ...
        times: ... and how many times as often.
        even: False: all pictures are equally likely, except for the hard ones.
    """
    labels = Counter(s.label for s in samples)
    sources = Counter((s.label, s.source) for s in samples)
    scenes = Counter((s.label, s.source, s.scene) for s in samples)
    crowds = [(sources[s.label, s.source] * scenes[s.label, s.source, s.scene]) if even else 1 for s in samples]
    raw = [n**-0.5 * (times if s.path.name in hard else 1.0) for n, s in zip(crowds, samples, strict=True)]
    if not even:
        return [w / sum(raw) for w in raw]
    sums = {label: sum(w for w, s in zip(raw, samples, strict=True) if s.label == label) for label in labels}
    return [w / sums[s.label] / len(labels) for w, s in zip(raw, samples, strict=True)]


def _sample(folder: Path, row: dict[str, str], where: str) -> Sample:
    if None in (row["file"], row["source_repo"], row["scene"], row["sha256"]):
        raise CorpusError(f"{where}: has fewer columns than the first line")
    split = _SPLITS.get(row["split"])
    if split is None:
        raise CorpusError(f"{where}: split must be train, val or test, got {row['split']!r}")
    if row["classes"] not in (*LABELS, NEGATIVE):
        raise CorpusError(f"{where}: classes must be one of {', '.join(LABELS)}, {NEGATIVE}, got {row['classes']!r}")
    return Sample(folder / row["file"], split, row["source_repo"], row["scene"], row["classes"], row["sha256"])


def _check(sample: Sample, against_sum: bool) -> None:
    if not sample.labels_path.is_file():
        raise CorpusError(f"{sample.path} has no label file {sample.labels_path}: an empty one says 'nothing here'")
    try:
        known = not against_sum or hashlib.sha256(sample.path.read_bytes()).hexdigest() == sample.sha256
    except OSError as error:
        raise CorpusError(f"{sample.path}: {error.strerror}; the manifest names it") from None
    if not known:
        raise CorpusError(f"{sample.path} is not the picture that the manifest records: fetch it again")


def _truth(line: str, path: Path) -> Truth:
    try:
        number, *numbers = line.split()
        x, y, width, height = map(float, numbers)
        # A box slightly over the edge is clipped; NaN is in no range.
        if int(number) not in range(len(LABELS)) or not all(0 <= v <= _HAIR for v in (x, y, width, height)):
            raise ValueError
        box = _corners(x, y, width, height)
    except ValueError:
        raise CorpusError(
            f"{path}: a line must be 'class x y width height', class 0-{len(LABELS) - 1}, the others in fractions of "
            f"the picture, got {line!r:.120}"
        ) from None
    return Truth(int(number), box)


def _corners(x: float, y: float, width: float, height: float) -> Box:
    return Box(*(min(1.0, max(0.0, v)) for v in (x - width / 2, y - height / 2, x + width / 2, y + height / 2)))
