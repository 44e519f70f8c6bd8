"""Compares ways to look for weapons in pictures: whole frames, tiles, people; `make evaluate LOOKS=CORPUS` runs it.

An alert depends on whether a weapon of any kind is detected anywhere in a picture. So each look gives a picture the
confidence of its best gun or knife, and is scored at the thresholds of `detect/rules.py` and at the threshold that is
wrong in a stated share of the pictures without a weapon. Milliseconds are of one core, for all networks that the look
runs, without decoding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from detect.people import ARMED, PERSON, keep_weapons, parts_with_people
from detect.rules import RULES, Look
from detect.training.corpus import Sample, read_corpus, read_image
from detect.training.scores import is_weapon, reaches_threshold
from detect.zoom import cut
from functions import Box, Detection
from models.letterbox import Image
from models.network import HAZARD, SCENE, Network

FALSE_RATE = 0.02
"""Share of the pictures without a weapon in which one may be detected, for choosing a threshold."""
_PEOPLE = 4
_LEAST = 0.01
_SMALL, _MEDIUM = 0.1, 0.2
"""Longer side of a weapon in fractions of the picture: 32 and 64 px of the network's input."""
_NIGHT, _GREY = 60.0, 8.0
"""Maximum mean level (of 255) of a picture at night, and maximum mean saturation of one without colours."""
_TILES = [Box(x, y, x + 0.6, y + 0.6) for x in (0.0, 0.4) for y in (0.0, 0.4)]

Found = Mapping[Look, list[Detection]]
"""The detections, by the look whose thresholds apply."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to look at a picture."""

    name: str
    find: Callable[[Image], Found]


@dataclass(frozen=True, slots=True)
class Result:
    """What one look detected in one picture.

    Attributes:
        confidence: of the most confident weapon; 0 if there is none.
        is_detected: whether a weapon reaches its threshold.
        ms: of one core.
    """

    confidence: float
    is_detected: bool
    ms: float


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture, with the facts that the tables need."""

    is_armed: bool
    size: str
    """Of its largest weapon; empty without one."""
    light: str


def ways(weights: Path, device: str) -> list[Way]:
    """The looks that are compared: the detector's, and tiles."""
    hazards = Network(replace(HAZARD, path=weights, int8=None, min_confidence=_LEAST), 1, device)
    scene = Network(SCENE, 1, device)

    def whole(image: Image) -> Found:
        return {"frame": hazards.detect([image])[0]}

    def tiles(image: Image) -> Found:
        return {"frame": _weapons_in(hazards, image, _TILES)}

    def people(image: Image) -> Found:
        return {"person": _weapons_in(hazards, image, parts_with_people(scene.detect([image])[0], _PEOPLE))}

    return [
        Way("whole frame", whole),
        Way("four tiles of 0.6", tiles),
        Way(f"people, at most {_PEOPLE}", people),
        Way("whole frame, then people", lambda image: {**whole(image), **people(image)}),
    ]


def tables(folder: Path, weights: Path, device: str, count: int = 0) -> list[str]:
    """Lines of the tables for the validation split of a corpus, or for about `count` pictures of it.

    Raises:
        CorpusError: the corpus cannot be read.
        ModelError: a network cannot be loaded.
    """
    samples = [s for s in read_corpus(folder) if s.split == "val" and _is_about_weapons(s)]
    if count:
        samples = samples[:: max(1, len(samples) // count)]
    compared = ways(weights, device)
    pictures, results = [], {way.name: list[Result]() for way in compared}
    for sample in samples:
        image = read_image(sample)
        pictures.append(_describe(sample, image))
        for way in compared:
            results[way.name].append(_try(way, image))
    return [
        f"Weapons in {len(samples)} pictures of {folder.name} (val), `{weights.name}`, by `make evaluate LOOKS=`.",
        "",
        *_looks_table(pictures, results),
        "",
        *_groups_table(pictures, results),
    ]


def threshold_at(confidences: Sequence[float], rate: float) -> float:
    """The lowest threshold that at most that share of these confidences reaches; each is of a picture without a weapon.

    A confidence equal to the threshold counts, so it lies just above the first one that must not.
    """
    allowed = int(rate * len(confidences))
    highest = sorted(confidences, reverse=True)
    return float(np.nextafter(highest[allowed], 2.0)) if allowed < len(highest) else 0.0


def _is_about_weapons(sample: Sample) -> bool:
    return sample.label in (*ARMED, "weapon", "negative")


def _weapons_in(hazards: Network, image: Image, parts: Sequence[Box]) -> list[Detection]:
    found = hazards.detect([cut(image, part) for part in parts])
    return [d for each, part in zip(found, parts, strict=True) for d in keep_weapons(each, part)]


def _try(way: Way, image: Image) -> Result:
    begun = time.process_time()
    found = way.find(image)
    ms = 1000 * (time.process_time() - begun)
    weapons = {look: [d for d in each if d.label in ARMED] for look, each in found.items()}
    surest = max((d.confidence for each in weapons.values() for d in each), default=0.0)
    return Result(surest, any(reaches_threshold(each, _thresholds(look)) for look, each in weapons.items()), ms)


def _describe(sample: Sample, image: Image) -> Picture:
    sizes = [max(t.box.x2 - t.box.x1, t.box.y2 - t.box.y1) for t in sample.truths() if is_weapon(t)]
    largest = max(sizes, default=0.0)
    size = "small" if largest < _SMALL else "medium" if largest < _MEDIUM else "large"
    saturation = float(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)[:, :, 1].mean())
    light = "night" if float(image.mean()) < _NIGHT else "grey" if saturation < _GREY else "day"
    return Picture(bool(sizes), size if sizes else "", light)


def _thresholds(look: Look) -> dict[str, float]:
    added = {label: RULES[label].person_penalty if look == "person" else 0.0 for label in RULES if label in ARMED}
    return {label: RULES[label].threshold + more for label, more in added.items()}


def _looks_table(pictures: Sequence[Picture], results: Mapping[str, Sequence[Result]]) -> list[str]:
    armed = sum(p.is_armed for p in pictures)
    rows = [
        f"| look | at its thresholds: of {armed} armed | of {len(pictures) - armed} others "
        f"| threshold for {FALSE_RATE:.0%} false | of {armed} armed | ms a picture |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in results.items():
        said = sum(t.is_detected for t in each)
        right = sum(t.is_detected and p.is_armed for t, p in zip(each, pictures, strict=True))
        least = _least(pictures, each)
        found = sum(t.confidence >= least for t, p in zip(each, pictures, strict=True) if p.is_armed)
        ms = float(np.mean([t.ms for t in each]))
        rows.append(f"| {name} | {right} | {said - right} | {least:.2f} | {found} | {ms:.0f} |")
    return rows


def _groups_table(pictures: Sequence[Picture], results: Mapping[str, Sequence[Result]]) -> list[str]:
    """At the stated false rate, by how large the weapon is and by light."""
    groups = [("size", name) for name in ("small", "medium", "large")]
    groups += [("light", name) for name in ("day", "grey", "night")]
    members = {g: [i for i, p in enumerate(pictures) if p.is_armed and getattr(p, g[0]) == g[1]] for g in groups}
    there = [g for g in groups if members[g]]
    rows = ["| look | " + " | ".join(f"{name} (of {len(members[kind, name])})" for kind, name in there) + " |"]
    rows.append("|---" * (len(there) + 1) + "|")
    for name, each in results.items():
        least = _least(pictures, each)
        counts = [sum(each[i].confidence >= least for i in members[g]) for g in there]
        rows.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return [
        *rows,
        "",
        f"Detected at the threshold for {FALSE_RATE:.0%} false. Small, medium: the largest weapon's longer side is "
        f"below {_SMALL:g}, below {_MEDIUM:g} of the picture. Night: mean level under {_NIGHT:g}; grey: no colours. "
        f"A {PERSON} whom the scene network does not find is skipped.",
    ]


def _least(pictures: Sequence[Picture], results: Sequence[Result]) -> float:
    return threshold_at([t.confidence for t, p in zip(results, pictures, strict=True) if not p.is_armed], FALSE_RATE)
