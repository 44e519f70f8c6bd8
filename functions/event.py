"""What travels: the event, its parts and its wire form; every room builds and reads these."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct, field

Hazard = Literal["accident", "fire", "gun", "knife"]
HAZARDS: tuple[Hazard, ...] = ("accident", "fire", "gun", "knife")

CONTENT_TYPE = "application/msgpack"
WIRE_VERSION = 1
_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class DecodeError(ValueError):
    """The bytes are not an event; the message says where and why."""


class Box(Struct, frozen=True, array_like=True):
    """Rectangle in fractions [0, 1] of its frame, origin top-left, x1 <= x2 and y1 <= y2."""

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        # NaN fails every comparison, so it is refused here too.
        if not (0 <= self.x1 <= self.x2 <= 1 and 0 <= self.y1 <= self.y2 <= 1):
            raise ValueError(
                f"box must have 0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1, got "
                f"({self.x1}, {self.y1}, {self.x2}, {self.y2})"
            )

    @property
    def area(self) -> float:
        """Share of the frame that the box covers."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the box as (x, y)."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union with `other`, 0 where they do not touch."""
        shared = self.shared(other)
        return shared / (self.area + other.area - shared) if shared else 0.0

    def shared(self, other: Box) -> float:
        """Area that both cover, as a share of the frame."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        return width * height if width > 0 and height > 0 else 0.0

    def grown(self, times: float) -> Box:
        """A box so many times as wide and high around the same middle, cut off where the frame ends."""
        (x, y), across, down = self.center, times * (self.x2 - self.x1) / 2, times * (self.y2 - self.y1) / 2
        return Box(max(0.0, x - across), max(0.0, y - down), min(1.0, x + across), min(1.0, y + down))

    def around(self, other: Box) -> Box:
        """The least box that holds both."""
        return Box(min(self.x1, other.x1), min(self.y1, other.y1), max(self.x2, other.x2), max(self.y2, other.y2))


class Detection(Struct, frozen=True):
    """One object that a network found in one frame."""

    label: str
    confidence: float
    box: Box

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be in [0, 1], got {self.confidence}")


class Frame(Struct, frozen=True):
    """One camera picture: JPEG bytes and when it was captured (UTC)."""

    jpeg: bytes
    captured_at: datetime

    def __post_init__(self) -> None:
        _require_utc("frame.captured_at", self.captured_at)


class Place(Struct, frozen=True):
    """Where a camera stands: WGS 84 degrees, a name people know, and the region that serves it."""

    lat: float
    lon: float
    name: str
    region: str = ""

    def __post_init__(self) -> None:
        if not (-90 <= self.lat <= 90 and -180 <= self.lon <= 180):
            raise ValueError(f"place must have lat in [-90, 90] and lon in [-180, 180], got ({self.lat}, {self.lon})")


class Caption(Struct, frozen=True):
    """What an alert says, in the languages it is told in."""

    en: str
    ko: str


class Zone(Struct, frozen=True, array_like=True):
    """A part of a camera's picture that people have a name for: a polygon of (x, y) in fractions of the frame."""

    name: Caption
    polygon: tuple[tuple[float, float], ...]

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies within; on the edge either may come out."""
        is_inside = False
        for (x1, y1), (x2, y2) in zip(self.polygon, (*self.polygon[1:], *self.polygon[:1]), strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                is_inside = not is_inside
        return is_inside


class Stage(Struct, frozen=True):
    """One stop on an event's way: when the stage got it, and when it had published or finished it (UTC)."""

    name: str
    got_at: datetime
    done_at: datetime

    def __post_init__(self) -> None:
        _require_utc("stage.got_at", self.got_at)
        _require_utc("stage.done_at", self.done_at)


class Event(Struct, frozen=True, kw_only=True):
    """Immutable fact on the exchange.

    `id` is given once, by motion, and kept through every stage; `type` is what happened and the routing key. A `motion`
    event carries a burst in `frames`; a hazard event (`accident`, `fire`, `gun`, `knife`) its best frame, unredacted;
    `captioned` no frame but a mosaicked `snapshot` (None where redaction failed) and a `caption`; `camera` a `status`.
    """

    id: str
    type: str
    camera: str
    place: Place
    captured_at: datetime
    """Capture time of the first frame of the burst (UTC)."""
    hazard: Hazard | None = None
    frames: tuple[Frame, ...] = ()
    moved: Box | None = None
    """Of a `motion` event: where the largest thing moved while the burst was taken; the detector looks there closer."""
    detections: tuple[Detection, ...] = ()
    """Boxes in the one frame of a hazard event: the hazard first, then what else is in the scene."""
    searched: tuple[str, ...] = ()
    """Labels the detector looked for. Redaction trusts `detections` for people only if "person" is in here."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """This camera's minimum confidence by hazard, over the detector's own defaults."""
    zones: tuple[Zone, ...] = ()
    """Named parts of this camera's picture, for the captioner; a `captioned` event has none."""
    snapshot: bytes | None = None
    thumbnail: bytes | None = None
    """Of a `captioned` event: its snapshot, small, as JPEG."""
    location: bytes | None = None
    """Of a `captioned` event: a drawn map of the place, as JPEG."""
    caption: Caption | None = None
    status: str = ""
    """Of a `camera` event: "live", or "lost: <reason>"."""
    late: bool = False
    """Kept at the edge while the broker was away: it is true, but it is no news any more."""
    trace: tuple[Stage, ...] = ()
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        if not self.id or len(self.id) > 64:
            raise ValueError(f"id must have 1 to 64 characters, got {self.id!r:.80}")
        if not _TYPE.fullmatch(self.type):
            raise ValueError(f"type must match {_TYPE.pattern}, got {self.type!r:.80}")
        if not self.camera or len(self.camera) > 128:
            raise ValueError(f"camera must have 1 to 128 characters, got {self.camera!r:.80}")
        if self.version != WIRE_VERSION:
            raise ValueError(f"version must be {WIRE_VERSION}, got {self.version}: upgrade this consumer")
        _require_utc("captured_at", self.captured_at)

    @property
    def confidence(self) -> float:
        """Confidence of the hazard (the first detection), 0 where there is none."""
        return self.detections[0].confidence if self.detections else 0.0

    def with_stage(self, name: str, got_at: datetime, done_at: datetime) -> Event:
        """The same event, with one more stage at the end of its trace."""
        return msgspec.structs.replace(self, trace=(*self.trace, Stage(name, got_at, done_at)))


@dataclass(frozen=True, slots=True)
class Message:
    """What a broker carries: a routing key, opaque bytes, and headers that tools can read without our code."""

    routing_key: str
    body: bytes
    headers: Mapping[str, str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Event)


def new_id() -> str:
    """A fresh event id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def utc_now() -> datetime:
    """Now, with its UTC offset."""
    return datetime.now(UTC)


def encode(event: Event) -> Message:
    """The event as MessagePack, its CloudEvents 1.0 attributes repeated as headers."""
    return Message(
        routing_key=event.type,
        body=_encoder.encode(event),
        headers={
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": event.id,
            "cloudEvents:source": f"/cameras/{event.camera}/{event.type}",
            "cloudEvents:type": event.type,
            "cloudEvents:subject": event.camera,
            "cloudEvents:time": event.captured_at.isoformat(),
        },
    )


def decode(body: bytes) -> Event:
    """Read an event from its wire form.

    Raises:
        DecodeError: the bytes are not MessagePack, or not an event of this version.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        raise DecodeError(f"not an event: {error}") from error


def _require_utc(name: str, at: datetime) -> None:
    offset = at.utcoffset()
    if offset is None or not math.isclose(offset.total_seconds(), 0):
        raise ValueError(f"{name} must be UTC, got {at.isoformat()}")
