"""Facts without a class of their own, and the single `Event` of version 1; function files build these."""

from __future__ import annotations

from typing import Any

from msgspec import field

from functions.event.facts import FACTS, CameraEvent, HazardSeen, require_type
from functions.event.geometry import Box
from functions.event.parts import Caption, Detection, Frame, Zone
from functions.hazards import Hazard


class CustomEvent(CameraEvent, frozen=True, kw_only=True, tag=False):
    """A fact about a camera, of a type that has no class here. Your own class can have more precise fields.

    Fields are as in `functions/event/facts.py`; `type` must match `[a-z][a-z0-9_-]{0,62}` and have no class there.
    """

    type: str
    hazard: Hazard | None = None
    frames: tuple[Frame, ...] = ()
    moved: Box | None = None
    detections: tuple[Detection, ...] = ()
    labels_searched: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)
    zones: tuple[Zone, ...] = ()
    snapshot: bytes | None = None
    thumbnail: bytes | None = None
    location: bytes | None = None
    caption: Caption | None = None
    status: str = ""

    def __post_init__(self) -> None:
        CameraEvent.__post_init__(self)
        require_type(self.type)
        if (known := FACTS.get(self.type)) is not None:
            raise ValueError(f"type {self.type!r} is {known.__name__}: build that")

    @property
    def confidence(self) -> float:
        """Confidence [0, 1] of the first detection, 0 if there is none."""
        return self.detections[0].confidence if self.detections else 0.0

    @property
    def searched(self) -> tuple[str, ...]:
        """`labels_searched`, by its name in version 1."""
        return self.labels_searched


def event_of(*, type: str, **fields: Any) -> CameraEvent:  # noqa: A002
    """Build a fact of a type from version 1's fields, when one `Event` had the fields of all types.

    Values without a field in the type are left out: the frames of `captioned`, all but the first frame of a hazard.

    Args:
        type: what happened; a hazard's name, "motion", "captioned", "camera", or any other.
        fields: version 1's fields, or the type's own.

    Raises:
        ValueError: a field is out of its range; the message names it.
        TypeError: a field is missing, or no type has it.
    """
    fact = FACTS.get(type, CustomEvent)
    if unknown := fields.keys() - _ALL_FIELDS:
        raise TypeError(f"Event has no field {', '.join(sorted(unknown))}")
    if "searched" in fields:
        fields["labels_searched"] = fields.pop("searched")
    if fact is HazardSeen:
        fields["hazard"] = type
        if frames := fields.pop("frames", ()):
            fields["frame"] = frames[0]
    else:
        fields["type"] = type
    return fact(**{name: value for name, value in fields.items() if name in fact.__struct_fields__})


_ALL_FIELDS = {"searched", "frame", *CustomEvent.__struct_fields__}
