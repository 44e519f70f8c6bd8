"""The wire format of events: MessagePack with CloudEvents headers; version 1 is read too. The runtime calls this."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from functions.event.custom import CustomEvent, event_of
from functions.event.facts import DECLARED, WIRE_VERSION, Event
from functions.event.geometry import Box
from functions.event.parts import Caption, Detection, Frame, Place, Stage, Zone
from functions.event.requests import FAMILIES
from functions.hazards import Hazard

CONTENT_TYPE = "application/msgpack"


class DecodeError(ValueError):
    """The bytes are not an event; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Message:
    """A broker's message: a routing key, opaque bytes, and headers that tools can read without our code."""

    routing_key: str
    body: bytes
    headers: Mapping[str, str]


class _Head(Struct):
    """The fields that decide how the rest is read. Version 1 may leave its version out."""

    type: str
    version: int = 1


class _Version1(Struct):
    """Version 1's single event, with the fields of all types."""

    id: str
    type: str
    camera: str
    place: Place
    captured_at: datetime
    hazard: Hazard | None = None
    frames: tuple[Frame, ...] = ()
    moved: Box | None = None
    detections: tuple[Detection, ...] = ()
    searched: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)
    zones: tuple[Zone, ...] = ()
    snapshot: bytes | None = None
    thumbnail: bytes | None = None
    location: bytes | None = None
    caption: Caption | None = None
    status: str = ""
    late: bool = False
    trace: tuple[Stage, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_head = msgspec.msgpack.Decoder(_Head)
_version_1 = msgspec.msgpack.Decoder(_Version1)


def encode(event: Event) -> Message:
    """The event as MessagePack, its CloudEvents 1.0 attributes repeated as headers."""
    type_, subject = event.type, event.subject
    return Message(
        routing_key=type_,
        body=_encoder.encode(event),
        headers={
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": event.id,
            "cloudEvents:source": f"{event.origin}/{subject}/{type_}",
            "cloudEvents:type": type_,
            "cloudEvents:subject": subject,
            "cloudEvents:time": event.time.isoformat(),
        },
    )


def decode(body: bytes) -> Event:
    """Read an event from its wire form, as the class of its type; one of version 1 as today's class.

    Returns:
        One of Bongsu's event types, a type that a function in this process declared, or else a `CustomEvent`.

    Raises:
        DecodeError: the bytes are not MessagePack, or not an event of a known version.
    """
    try:
        head = _head.decode(body)
        if head.version == 1:
            return _upgraded(_version_1.decode(body))
        if head.version != WIRE_VERSION:
            raise ValueError(f"version must be {WIRE_VERSION}, got {head.version}: upgrade this consumer")
        event: Event = _decoder(class_of(head.type)).decode(body)
        return event
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise DecodeError(f"not an event: {error}") from error


def decode_as(type_: str, body: bytes) -> Event:
    """Read an event that must be of a type: that of the queue which it was taken from.

    A publisher is permitted routing keys, and its message lies in the queues of such a key whatever its body says.

    Raises:
        DecodeError: as `decode`, or it is of another type.
    """
    event = decode(body)
    if event.type != type_:
        raise DecodeError(f"not an event of type {type_!r}, for which it was published, but {event.type!r:.80}")
    return event


def class_of(type_: str) -> type[Event]:
    """What an event of this type is read as: its class, that of its family, or else `CustomEvent`."""
    found = DECLARED.get(type_)
    return found or next((kind for begin, kind in FAMILIES.items() if type_.startswith(begin)), CustomEvent)


def _upgraded(old: _Version1) -> Event:
    fields = msgspec.structs.asdict(old)
    if old.type == "captioned" and (old.hazard is None or old.caption is None):
        raise ValueError("a captioned event must have a hazard and a caption")
    return event_of(**fields)


@functools.cache
def _decoder(fact: type[Event]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(fact)
