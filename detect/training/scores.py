"""Scores of detections against labels: average precision, precision, recall, reliability. Plain numpy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detect.training.corpus import LABELS, UNKNOWN_WEAPON, WEAPONS, Truth
from functions import HAZARDS, Detection

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Bools = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

IOUS = tuple(0.5 + 0.05 * i for i in range(10))
"""Overlaps at which mAP50-95 is averaged."""
LOOSE = 0.1
"""A low overlap that only checks the place: of a burning car, some labellers box the car and others the flames."""


@dataclass(frozen=True, slots=True)
class Matched:
    """All detections of one hazard in a set of pictures, most confident first.

    Attributes:
        confidence: shape (n,).
        hit: whether it is the first to match a labelled box, at each overlap; shape (n, overlaps).
        truths: how many boxes are labelled.
    """

    confidence: Floats
    hit: Bools
    truths: int


def match(
    found: Sequence[Sequence[Detection]], truths: Sequence[Sequence[Truth]], number: int, ious: Sequence[float] = IOUS
) -> Matched:
    """Match detections of one hazard with labelled boxes: each box counts once, for the most confident detection.

    A gun or knife found where a weapon of unknown kind is labelled may be right or wrong, so it counts as neither.

    Args:
        found: for each picture its detections.
        truths: for each picture its labels.
        number: of the hazard, an index of `HAZARDS`.
        ious: overlaps from which a detection is a hit.
    """
    confidences: list[float] = []
    hits: list[Bools] = []
    total = 0
    for detections, labelled in zip(found, truths, strict=True):
        boxes = [t.box for t in labelled if t.number == number]
        unknown = [t.box for t in labelled if t.number != number and t.may_be(number)]
        total += len(boxes)
        mine = sorted((d for d in detections if d.label == HAZARDS[number]), key=lambda d: -d.confidence)
        taken = np.zeros((len(boxes), len(ious)), np.bool_)
        for detection in mine:
            overlaps = np.array([detection.box.iou(box) for box in boxes])
            hit = _take(overlaps, taken, ious)
            if hit.any() or not any(detection.box.iou(box) >= LOOSE for box in unknown):
                confidences.append(detection.confidence)
                hits.append(hit)
    order = np.argsort(-np.asarray(confidences, np.float64), kind="stable")
    all_hits = np.asarray(hits, np.bool_).reshape(len(hits), len(ious))
    return Matched(np.asarray(confidences, np.float64)[order], all_hits[order], total)


def average_precision(matched: Matched) -> Floats:
    """Area under the precision-recall curve, interpolated at 101 points as in COCO; one for each overlap.

    NaN if nothing is labelled.
    """
    overlaps = matched.hit.shape[1]
    if matched.truths == 0:
        return np.full(overlaps, np.nan)
    ranks = np.arange(1, len(matched.confidence) + 1)[:, None]
    hits = matched.hit.cumsum(axis=0)
    recall, precision = hits / matched.truths, hits / ranks
    points = np.linspace(0, 1, 101)
    return np.array([_area(recall[:, i], precision[:, i], points) for i in range(overlaps)])


def at_threshold(matched: Matched, threshold: float) -> tuple[float, float]:
    """Precision and recall at an overlap of 0.5 of detections from this confidence on; NaN for a division by zero."""
    kept = matched.confidence >= threshold
    hits = int(matched.hit[kept, 0].sum())
    return _share(hits, int(kept.sum())), _share(hits, matched.truths)


class Tally(NamedTuple):
    """In how many pictures a hazard is detected: of those that show it, and of all others."""

    right: int
    shown: int
    wrong: int
    absent: int


def tally(shown: Sequence[bool], detected: Sequence[bool]) -> Tally:
    """Count pictures, given for each whether it shows a hazard and whether one is detected."""
    right = sum(s and d for s, d in zip(shown, detected, strict=True))
    return Tally(right, sum(shown), sum(detected) - right, len(shown) - sum(shown))


def count_detected(
    found: Sequence[Sequence[Detection]], truths: Sequence[Sequence[Truth]], number: int, threshold: float
) -> Tally:
    """Count pictures in which a hazard is detected anywhere, from a confidence on, as an alert needs no exact box.

    Pictures of a weapon of unknown kind are left out for guns and knives.
    """
    pairs = [
        (any(t.number == number for t in labelled), reaches_threshold(each, {HAZARDS[number]: threshold}))
        for each, labelled in zip(found, truths, strict=True)
        if any(t.number == number for t in labelled) or not any(t.may_be(number) for t in labelled)
    ]
    return tally([shown for shown, _ in pairs], [is_there for _, is_there in pairs])


def count_weapons(
    found: Sequence[Sequence[Detection]], truths: Sequence[Sequence[Truth]], thresholds: Mapping[str, float]
) -> Tally:
    """As `count_detected`, for any weapon: a gun detected instead of a knife alerts the same people.

    Args:
        found: for each picture its detections.
        truths: for each picture its labels.
        thresholds: minimum confidence by label; only weapons count.
    """
    least: dict[str, float] = {label: value for label, value in thresholds.items() if label in WEAPONS}
    shown = [any(is_weapon(t) for t in labelled) for labelled in truths]
    return tally(shown, [reaches_threshold(each, least) for each in found])


def reaches_threshold(found: Sequence[Detection], thresholds: Mapping[str, float]) -> bool:
    """Whether any detection reaches its label's threshold; labels without one do not count."""
    return any(d.confidence >= thresholds.get(d.label, math.inf) for d in found)


def is_weapon(truth: Truth) -> bool:
    """Whether a gun, a knife or a weapon of unknown kind is labelled."""
    return LABELS[truth.number] in WEAPONS or LABELS[truth.number] == UNKNOWN_WEAPON


def reliability(matched: Sequence[Matched], bins: int = 10) -> list[tuple[float, float, int]]:
    """Whether 0.8 means 80 %: for each bin of confidence its mean, the share of hits (overlap 0.5), and the count."""
    confidence = np.concatenate([m.confidence for m in matched])
    hit = np.concatenate([m.hit[:, 0] for m in matched])
    edges = np.linspace(0, 1, bins + 1)
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & ((confidence < high) | (high == 1))
        if inside.any():
            rows.append((float(confidence[inside].mean()), float(hit[inside].mean()), int(inside.sum())))
    return rows


def calibration_error(rows: Sequence[tuple[float, float, int]]) -> float:
    """Mean difference between confidence and accuracy, weighted by count: the expected calibration error."""
    total = sum(count for *_, count in rows)
    return sum(abs(mean - share) * count for mean, share, count in rows) / total if total else float("nan")


def _take(overlaps: Floats, taken: Bools, ious: Sequence[float]) -> Bools:
    """Match the free box that is overlapped most, for each required overlap; returns whether there was one."""
    hit = np.zeros(len(ious), np.bool_)
    if not len(overlaps):
        return hit
    for i, least in enumerate(ious):
        free = np.where(taken[:, i], 0.0, overlaps)
        best = int(free.argmax())
        if free[best] >= least:
            taken[best, i] = hit[i] = True
    return hit


def _area(recall: Floats, precision: Floats, points: Floats) -> float:
    # Precision at a recall is the highest precision at that recall or more.
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, points, side="left")
    return (
        float(np.where(at < len(recall), falling[np.minimum(at, len(recall) - 1)], 0.0).mean()) if len(recall) else 0.0
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
