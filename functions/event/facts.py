"""The event types, one for each fact, over a small envelope; every room and function builds and reads these."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import msgspec
from msgspec import Struct, StructMeta, field

from functions.event.geometry import Box
from functions.event.parts import Caption, Detection, Frame, Place, Stage, Zone, require_utc
from functions.hazards import HAZARDS, Hazard

WIRE_VERSION = 2
_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def require_type(type_: str) -> None:
    """Check that a type can be a routing key.

    Raises:
        ValueError: it does not match `[a-z][a-z0-9_-]{0,62}`.
    """
    if not _TYPE.fullmatch(type_):
        raise ValueError(f"type must match {_TYPE.pattern}, got {type_!r:.80}")


DECLARED: dict[str, type[Event]] = {}
"""The class of each type that this process knows; the latest, if a function's file was loaded twice."""


class _EventMeta(StructMeta):
    """Checks each type's tag when the class is declared, and keeps version 1's `Event(type=…)` working."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> None:  # noqa: N805
        super().__init__(name, bases, namespace, **config)
        # Stored here because `__struct_config__` is built at each access. An envelope has no type of its own.
        cls._tag = None if name in ("Event", "CameraEvent") else cls.__struct_config__.tag
        for type_ in cls.types():  # type: ignore[attr-defined]
            require_type(type_)
            owner = DECLARED.get(type_)
            if owner is not None and owner.__module__ == __name__ != cls.__module__:
                raise ValueError(f"{name}: type {type_!r} is {owner.__name__}'s, choose another tag")
            DECLARED[type_] = cls  # type: ignore[assignment]

    def __call__(cls, *args: Any, **fields: Any) -> Any:  # noqa: N805
        # Only calls from Python get here: decoding and `msgspec.structs.replace` build instances in C.
        if cls is not Event or args:
            return super().__call__(*args, **fields)
        from functions.event.custom import event_of

        return event_of(**fields)


class Event(Struct, frozen=True, kw_only=True, metaclass=_EventMeta, tag_field="type", tag=str.lower):
    """The envelope of every fact: an immutable event on the exchange.

    Subclass it for a fact that is not about a camera (`subject` and `time` must then be defined), and
    `CameraEvent` for one about a camera: `class Parked(CameraEvent, frozen=True, tag="parked")`. The tag is the event's
    `type` and its routing key. A process that does not know the class reads such an event as a `CustomEvent`.

    `Event(type="parked", camera=…, …)`, as in function files of version 1, builds an instance of that type's class.

    Raises:
        ValueError: a field is out of its range; the message names it. (Decoding raises `DecodeError` instead.)
        TypeError: a field is missing or unknown.
    """

    _tag: ClassVar[str | None]
    origin: ClassVar[str] = ""
    """The part of a CloudEvents `source` before the subject; "/cameras" for a fact about a camera."""

    id: str
    """Assigned by motion and kept through every stage; 1 to 64 characters."""
    late: bool = False
    """Buffered at the edge while the broker was unreachable: still recorded, but no longer news."""
    trace: tuple[Stage, ...] = ()
    """The stages the event has passed, oldest first."""
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        if not self.id or len(self.id) > 64:
            raise ValueError(f"id must have 1 to 64 characters, got {self.id!r:.80}")
        if self.version != WIRE_VERSION:
            raise ValueError(f"version must be {WIRE_VERSION}, got {self.version}: upgrade this consumer")

    @classmethod
    def types(cls) -> tuple[str, ...]:
        """The event types (routing keys) of this class; empty for a class without a type of its own."""
        return () if cls._tag is None else (cls._tag,)

    @property
    def type(self) -> str:
        """The fact's type: the routing key, and the CloudEvent's type."""
        return self._tag or ""

    @property
    def subject(self) -> str:
        """What the event is about; for a fact about a camera, the camera's id."""
        raise NotImplementedError(f"{type(self).__name__} must define subject, or be a CameraEvent")

    @property
    def time(self) -> datetime:
        """When it happened (UTC)."""
        raise NotImplementedError(f"{type(self).__name__} must define time, or be a CameraEvent")

    def with_stage(self, name: str, got_at: datetime, done_at: datetime) -> Self:
        """A copy with one more stage at the end of its trace (times in UTC)."""
        return msgspec.structs.replace(self, trace=(*self.trace, Stage(name, got_at, done_at)))


class CameraEvent(Event, frozen=True, kw_only=True):
    """The envelope of a fact about one camera; the base of the facts below, and for functions' own types."""

    origin: ClassVar[str] = "/cameras"

    camera: str
    """The camera's id, 1 to 128 characters."""
    place: Place
    captured_at: datetime
    """Capture time of the first frame of the burst (UTC)."""

    def __post_init__(self) -> None:
        Event.__post_init__(self)  # `super()` costs more than the check, and this runs for every event
        if not self.camera or len(self.camera) > 128:
            raise ValueError(f"camera must have 1 to 128 characters, got {self.camera!r:.80}")
        require_utc("captured_at", self.captured_at)

    @property
    def subject(self) -> str:
        """The camera's id."""
        return self.camera

    @property
    def time(self) -> datetime:
        """When it was captured (UTC)."""
        return self.captured_at


class MotionBurst(CameraEvent, frozen=True, kw_only=True, tag="motion"):
    """Something moved: a burst of frames, unredacted, for the detector alone."""

    frames: tuple[Frame, ...]
    """At least one, oldest first."""
    moved: Box | None = None
    """The region of the largest motion during the burst; the detector may look closer there."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """This camera's minimum confidence [0, 1] by hazard; it overrides the detector's defaults."""
    zones: tuple[Zone, ...] = ()
    """Named parts of this camera's view, for the caption."""

    def __post_init__(self) -> None:
        CameraEvent.__post_init__(self)
        if not self.frames:
            raise ValueError("frames must hold at least one frame, got none")


class HazardSeen(CameraEvent, frozen=True, kw_only=True, tag=False):
    """A hazard was confirmed. Its `type` is the hazard's name: `@on(HazardSeen)` takes all, `@on("fire")` fires."""

    hazard: Hazard = field(name="type")
    frame: Frame | None = None
    """The best frame of the burst, unredacted. None if there is no picture, as from an alarm button."""
    detections: tuple[Detection, ...] = ()
    """Boxes in `frame`: the hazard first, then other objects in the scene."""
    labels_searched: tuple[str, ...] = ()
    """Labels that the detector looked for. Redaction trusts `detections` for people only if it has "person"."""
    zones: tuple[Zone, ...] = ()
    """Named parts of this camera's view, for the caption."""

    @classmethod
    def types(cls) -> tuple[str, ...]:
        """All hazards."""
        return HAZARDS

    @property
    def type(self) -> str:
        """The hazard's name."""
        return self.hazard

    @property
    def confidence(self) -> float:
        """Confidence [0, 1] of the hazard (the first detection), 0 if there is none."""
        return self.detections[0].confidence if self.detections else 0.0

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frame as in version 1: a tuple of one frame, or an empty one."""
        return () if self.frame is None else (self.frame,)

    @property
    def searched(self) -> tuple[str, ...]:
        """`labels_searched`, by its name in version 1."""
        return self.labels_searched


class Captioned(CameraEvent, frozen=True, kw_only=True, tag="captioned"):
    """A hazard as the public may see it. It has no field for a frame: its pictures are mosaicked, or drawn."""

    hazard: Hazard
    caption: Caption
    snapshot: bytes | None = None
    """The mosaicked picture, as JPEG; None if redaction failed."""
    thumbnail: bytes | None = None
    """A smaller copy of the snapshot, as JPEG."""
    location: bytes | None = None
    """A drawn map of the place, as JPEG."""
    detections: tuple[Detection, ...] = ()
    """As in `HazardSeen`."""
    signature: bytes = b""
    """The captioner's, over all fields but `trace` and `late` (functions/signature.py); readers refuse others."""

    @property
    def confidence(self) -> float:
        """Confidence [0, 1] of the hazard (the first detection), 0 if there is none."""
        return self.detections[0].confidence if self.detections else 0.0


class Held(CameraEvent, frozen=True, kw_only=True, tag="held"):
    """A hazard that a second opinion did not confirm: operators decide whether its alert goes out."""

    hazard: Hazard
    alert: bytes
    """The `captioned` event with the captioner's signature, encoded: it is published unchanged if it is released."""


class CameraStatus(CameraEvent, frozen=True, kw_only=True, tag="camera"):
    """A camera's stream was opened or lost, at `captured_at`."""

    status: str
    """ "live", or "lost: <reason>"."""


class Reviewed(Event, frozen=True, kw_only=True, tag="reviewed"):
    """What an operator found of an incident, for those who were warned of it. It does not say who reviewed it."""

    origin: ClassVar[str] = "/incidents"

    incident: int
    """Its id in the database."""
    verdict: str
    """ "acknowledged" or "false_alarm"."""
    reviewed_at: datetime
    """When (UTC)."""

    def __post_init__(self) -> None:
        Event.__post_init__(self)
        require_utc("reviewed_at", self.reviewed_at)

    @property
    def subject(self) -> str:
        """The incident's id."""
        return str(self.incident)

    @property
    def time(self) -> datetime:
        """When it was reviewed (UTC)."""
        return self.reviewed_at


FACTS: Mapping[str, type[CameraEvent]] = {
    type_: fact for fact in (MotionBurst, HazardSeen, Captioned, Held, CameraStatus) for type_ in fact.types()
}
"""The class of each type about a camera that Bongsu itself publishes."""


def new_id() -> str:
    """A fresh event id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def utc_now() -> datetime:
    """Now, with its UTC offset."""
    return datetime.now(UTC)
