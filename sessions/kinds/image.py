"""The kind `image`: for a JPEG, its class and one sentence, from the detections of both shipped networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from functions import Detection
from sessions.kinds.object import Detector

_SURE = 0.4
"""Minimum confidence of a scene object to count: the network keeps boxes from 0.2 for privacy, not for accuracy."""
_PLURALS = {"person": "people", "bus": "buses"}


class Describer:
    """Both networks."""

    takes = "picture"

    def __init__(self) -> None:
        """Load them.

        Raises:
            ModelError: one cannot be loaded.
        """
        self._hazards, self._scene = Detector("hazard"), Detector("scene")

    def run(self, given: Any) -> dict[str, Any]:
        """`label` is the most confident hazard, else the commonest object, else `nothing`."""
        hazards = self._hazards.detect(given)
        seen = [detection for detection in self._scene.detect(given) if detection.confidence >= _SURE]
        objects = dict(Counter(detection.label for detection in seen).most_common())
        label, confidence = _most_likely(hazards, seen, objects)
        return {
            "label": label,
            "confidence": round(confidence, 4),
            "caption": describe(hazards[0].label if hazards else "", objects),
            "objects": objects,
        }


def describe(hazard: str, objects: Mapping[str, int]) -> str:
    """One sentence, such as `Fire, with 2 people and a car.`"""
    parts = [f"a {label}" if n == 1 else f"{n} {_PLURALS.get(label, label + 's')}" for label, n in objects.items()]
    listed = " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
    if hazard:
        return f"{hazard}, with {listed}.".capitalize() if listed else f"{hazard}.".capitalize()
    return f"{listed}.".capitalize() if listed else "Nothing that the networks know."


def _most_likely(hazards: list[Detection], seen: list[Detection], objects: Mapping[str, int]) -> tuple[str, float]:
    if hazards:
        return hazards[0].label, hazards[0].confidence
    if objects:
        label = next(iter(objects))
        return label, max(detection.confidence for detection in seen if detection.label == label)
    return "nothing", 0.0
