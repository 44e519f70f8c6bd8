"""Runs two versions of a detector on the same pictures, which neither was trained on, and says which may be in service.

What counts is what an operator sees: hazards that are found, and alarms on pictures of nothing. One picture is judged
here, where the detector confirms over a burst: both numbers are worse than in service, for both versions alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import FleetError
from edge.learn.corpus import NEGATIVE, Picture

MIN_IOU = 0.3
"""A box that shows the right thing: people who review look at the place, not at the pixel."""
_DEFAULT_THRESHOLD = 0.3
_MOST_CLASSES = 1000
TOLERANCE = 0.02
"""Of recall that may be lost for fewer false alarms: a picture in fifty."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What one version made of the pictures.

    Attributes:
        found: labelled hazards that were found.
        hazards: labelled hazards.
        false_alarms: pictures of nothing on which a hazard was found.
        negatives: pictures of nothing.
    """

    found: int
    hazards: int
    false_alarms: int
    negatives: int

    @property
    def recall(self) -> float:
        """Share of the hazards that were found; 1 where there is none."""
        return self.found / self.hazards if self.hazards else 1.0

    @property
    def false_alarm_rate(self) -> float:
        """Share of the pictures of nothing that raised an alarm; 0 where there is none."""
        return self.false_alarms / self.negatives if self.negatives else 0.0

    def __str__(self) -> str:
        return (
            f"{self.found} of {self.hazards} hazards found, "
            f"{self.false_alarms} false alarms on {self.negatives} pictures of nothing"
        )


def judge(service: Scores, candidate: Scores) -> tuple[bool, str]:
    """Whether a candidate may replace what is in service, and why: better in one respect, not worse in the other."""
    if problem := _problem(service, candidate):
        return False, problem
    if candidate.false_alarms < service.false_alarms:
        return True, f"{service.false_alarms - candidate.false_alarms} false alarms fewer"
    if candidate.found > service.found:
        return True, f"{candidate.found - service.found} more hazards found"
    return False, "it is no better than the version in service"


def _problem(service: Scores, candidate: Scores) -> str | None:
    if not candidate.hazards or not candidate.negatives:
        return (
            f"there are {candidate.hazards} hazards and {candidate.negatives} pictures of nothing to judge by, and "
            "both are needed: review more alerts, or add a corpus with --with"
        )
    if not candidate.found:
        return f"it finds none of the {candidate.hazards} hazards"
    if candidate.recall < service.recall - TOLERANCE:
        return f"it finds fewer hazards: {candidate.recall:.0%}, the version in service {service.recall:.0%}"
    if candidate.false_alarm_rate > service.false_alarm_rate:
        return (
            f"it raises more false alarms: on {candidate.false_alarm_rate:.0%} of the pictures of nothing, the version "
            f"in service on {service.false_alarm_rate:.0%}"
        )
    return None


def evaluate(
    weights: Path, labels: Sequence[str], thresholds: Mapping[str, float], pictures: Sequence[Picture]
) -> Scores:
    """Look at the pictures with one network; blocks.

    Args:
        weights: An ONNX file whose sha256 is recorded beside it.
        labels: By class number.
        thresholds: Score from which a label counts, by label.
        pictures: With their labels.

    Raises:
        FleetError: the network or a picture cannot be read, or what reads them is not installed.
    """
    try:
        from functions.jpeg import PictureError
        from models.network import Network, Spec, decode_jpeg
        from models.registry import ModelError
    except ImportError as error:
        raise FleetError(f"{error}: to evaluate takes pip install 'bongsu[detect]'") from None
    least = min((thresholds.get(label, _DEFAULT_THRESHOLD) for label in labels), default=_DEFAULT_THRESHOLD)
    found = hazards = false_alarms = negatives = 0
    try:
        network = Network(Spec(weights, dict(enumerate(labels)), min_confidence=least))
        for picture in pictures:
            (seen,) = network.detect([decode_jpeg(picture.path.read_bytes(), enough_px=network.size_px)])
            counted = [d for d in seen if d.confidence >= thresholds.get(d.label, _DEFAULT_THRESHOLD)]
            truths = read_truths(picture.labels, labels)
            if picture.label == NEGATIVE and not truths:
                negatives += 1
                false_alarms += bool(counted)
            hazards += len(truths)
            found += sum(any(d.label == label and iou(corners(d.box), box) >= MIN_IOU for d in counted)
                         for label, box in truths)  # fmt: skip
    except (ModelError, PictureError, OSError) as error:
        raise FleetError(f"{weights.name} could not be evaluated: {error}") from None
    return Scores(found, hazards, false_alarms, negatives)


Corners = tuple[float, float, float, float]


def read_truths(path: Path, labels: Sequence[str]) -> list[tuple[str, Corners]]:
    """The labels of a file in YOLO's form with their boxes as fractions of the picture: left, top, right, bottom.

    Raises:
        FleetError: a line is of another form.
    """
    truths: list[tuple[str, Corners]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            number, x, y, width, height = line.split()
            middle_x, middle_y, half_x, half_y = float(x), float(y), float(width) / 2, float(height) / 2
            if not 0 <= (which := int(number)) < _MOST_CLASSES:
                raise ValueError
        except ValueError:
            raise FleetError(f"{path}: a line must be 'class x y width height', got {line[:120]!r}") from None
        # Of a class beyond the network's own, such as a weapon of unknown kind, nothing can be asked.
        box = (middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y)
        truths.extend((label, box) for label in labels[which : which + 1])
    return truths


def corners(box: object) -> Corners:
    """A detection's box as corners."""
    x1, y1, x2, y2 = (float(getattr(box, name)) for name in ("x1", "y1", "x2", "y2"))
    return x1, y1, x2, y2


def iou(a: Corners, b: Corners) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0
