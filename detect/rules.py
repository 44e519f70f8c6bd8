"""Confirmation: decides from detections which hazards a burst shows; the detector's worker calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from functions import HAZARDS, Box, Detection, Hazard

Look = Literal["frame", "moved", "person"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What confirms one hazard.

    Attributes:
        threshold: minimum median confidence of the agreeing boxes.
        max_shift: maximum distance between the centres of boxes in adjacent frames, in mean diagonals.
        frames: minimum number of frames that must agree; one is never enough.
        zoom_penalty: added to the threshold at the second look (`detect/zoom.py`), which finds more and errs more.
        person_penalty: added to the threshold at the third look (`detect/people.py`), likewise.
        requires_nearby: labels of the scene network, one of which should be near the hazard.
        isolated_penalty: added to the threshold if none of them is.
    """

    threshold: float
    max_shift: float
    frames: int = 2
    zoom_penalty: float = 0.0
    person_penalty: float = 0.0
    requires_nearby: tuple[str, ...] = ()
    isolated_penalty: float = 0.0


RULES: Mapping[Hazard, Rule] = {
    # docs/detector.md, "How it is measured", says how they were chosen. An accident needs three frames, because dense
    # traffic sometimes looks like one in two. The same is true of a gun, but in a moving scene guns are rarely found in
    # three. A crash throws vehicles about, so their boxes may move further.
    "accident": Rule(0.45, 1.0, frames=3, zoom_penalty=0.1),
    "fire": Rule(0.30, 0.6),
    # A weapon without a person may be on a poster, or a rail by the road.
    # On crops of people a gun starts at 0.45 and a knife at 0.5: in 89 pictures without a weapon one is detected there.
    "gun": Rule(0.35, 0.8, zoom_penalty=0.1, person_penalty=0.1, requires_nearby=("person",), isolated_penalty=0.2),
    "knife": Rule(0.30, 0.8, zoom_penalty=0.1, person_penalty=0.2, requires_nearby=("person",), isolated_penalty=0.2),
}

_REACH = 2.0
"""An object is near a hazard if it touches the hazard's box grown to this many times its width and height."""
_LARGE = 0.1
"""Share of the frame. A person who holds a weapon this large is close to the camera, and detected."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A confirmed hazard: its best frame, its detection there, the burst's confidence, and other hazards."""

    hazard: Hazard
    frame: int
    detection: Detection
    confidence: float
    others: tuple[Detection, ...] = ()
    """Other hazards' boxes in the best frame that reach their thresholds."""
    least: float = 0.0
    """The threshold that was reached."""
    part: Box | None = None
    """The crop of the frames in which it was found, if it took a closer look."""


def confirm(
    frames: Sequence[Sequence[Detection]],
    thresholds: Mapping[str, float] | None = None,
    rules: Mapping[Hazard, Rule] = RULES,
    *,
    look: Look = "frame",
) -> list[Confirmed]:
    """Decide which hazards a burst shows.

    A hazard is confirmed if boxes of it in enough frames (of a burst of one: never) agree in place and their median
    confidence reaches the threshold.

    Args:
        frames: the detections of each frame, in time order.
        thresholds: this camera's own thresholds, over those of the rules; the network reports nothing under 0.25.
        rules: one for each hazard.
        look: where the detections are from: whole frames, the part that moved, or the part around a person.

    Returns:
        At most one per hazard, most confident first.
    """
    own = thresholds or {}
    least = {hazard: own.get(hazard, rule.threshold) + _added(rule, look) for hazard, rule in rules.items()}
    found = [c for hazard in HAZARDS if (c := _confirm_one(hazard, frames, least[hazard], rules[hazard]))]
    return sorted((_with_others(c, frames[c.frame], least) for c in found), key=lambda c: -c.confidence)


def surest(confirmed: Sequence[Confirmed]) -> list[Confirmed]:
    """The most confident confirmation of each hazard among several crops of a burst, most confident first."""
    best: dict[Hazard, Confirmed] = {}
    for each in sorted(confirmed, key=lambda c: -c.confidence):
        best.setdefault(each.hazard, each)
    return list(best.values())


def enough(frames: int, rules: Mapping[Hazard, Rule] = RULES) -> int:
    """How many empty frames of a burst of this length prove that it confirms nothing; at least one."""
    return max(1, frames - min(rule.frames for rule in rules.values()) + 1)


def can_confirm(seen: Sequence[Sequence[Detection]], more: int, rules: Mapping[Hazard, Rule] = RULES) -> bool:
    """Whether a burst may still confirm a hazard after some of its frames, with this many left."""
    shown = [{d.label for d in frame} for frame in seen]
    return any(sum(hazard in labels for labels in shown) + more >= rule.frames for hazard, rule in rules.items())


def fits(confirmed: Confirmed, around: Sequence[Detection], rules: Mapping[Hazard, Rule] = RULES) -> bool:
    """Whether a confirmed hazard is accepted, given the other objects in its frame.

    Args:
        confirmed: the hazard.
        around: the scene network's detections in its best frame.
        rules: one for each hazard.
    """
    rule, box = rules[confirmed.hazard], confirmed.detection.box
    if not rule.requires_nearby:
        return True
    if confirmed.confidence >= confirmed.least + rule.isolated_penalty and box.area < _LARGE:
        return True
    reach = box.grown(_REACH)
    return any(d.label in rule.requires_nearby and d.box.iou(reach) > 0 for d in around)


def _added(rule: Rule, look: Look) -> float:
    return {"frame": 0.0, "moved": rule.zoom_penalty, "person": rule.person_penalty}[look]


def _with_others(confirmed: Confirmed, frame: Sequence[Detection], least: Mapping[Hazard, float]) -> Confirmed:
    others = [
        d for d in frame if d is not confirmed.detection for h in HAZARDS if d.label == h and d.confidence >= least[h]
    ]
    return replace(confirmed, others=tuple(others))


def _confirm_one(
    hazard: Hazard, frames: Sequence[Sequence[Detection]], threshold: float, rule: Rule
) -> Confirmed | None:
    seen = [(i, d) for i, detections in enumerate(frames) for d in detections if d.label == hazard]
    best: Confirmed | None = None
    for seed in seen:
        track = _track(seed, frames, hazard, rule.max_shift)
        if len(track) < rule.frames:
            continue
        confidence = median(d.confidence for _, d in track)
        if confidence >= threshold and (best is None or confidence > best.confidence):
            frame, detection = max(track, key=lambda t: t[1].confidence)
            best = Confirmed(hazard, frame, detection, confidence, least=threshold)
    return best


def _track(
    seed: tuple[int, Detection], frames: Sequence[Sequence[Detection]], hazard: Hazard, max_shift: float
) -> list[tuple[int, Detection]]:
    """One box per frame that agrees with the seed, followed forwards from its frame."""
    at, last = seed
    track = [seed]
    for i in range(at + 1, len(frames)):
        near = [d for d in frames[i] if d.label == hazard and _shift(d.box, last.box) <= max_shift]
        if near:
            last = max(near, key=lambda d: d.confidence)
            track.append((i, last))
    return track


def _shift(a: Box, b: Box) -> float:
    """Distance of the centres in lengths of the mean diagonal: 0 for the same box, over 1 for separate ones."""
    (ax, ay), (bx, by) = a.center, b.center
    diagonal = (_diagonal(a) + _diagonal(b)) / 2
    return float(((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5 / diagonal) if diagonal > 0 else float(a != b)


def _diagonal(box: Box) -> float:
    return float(((box.x2 - box.x1) ** 2 + (box.y2 - box.y1) ** 2) ** 0.5)
