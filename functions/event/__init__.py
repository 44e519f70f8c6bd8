"""Events, their parts and their wire format; every room imports them from here."""

from functions.event.custom import CustomEvent
from functions.event.facts import (
    WIRE_VERSION,
    CameraEvent,
    CameraStatus,
    Captioned,
    Event,
    HazardSeen,
    Held,
    MotionBurst,
    Reviewed,
    new_id,
    utc_now,
)
from functions.event.geometry import Box
from functions.event.parts import Caption, Detection, Frame, Place, Stage, Zone
from functions.event.requests import Answered, HttpRequest, Tick
from functions.event.wire import CONTENT_TYPE, DecodeError, Message, class_of, decode, decode_as, encode
from functions.hazards import HAZARDS, Hazard

__all__ = [
    "CONTENT_TYPE",
    "HAZARDS",
    "WIRE_VERSION",
    "Answered",
    "Box",
    "CameraEvent",
    "CameraStatus",
    "Caption",
    "Captioned",
    "CustomEvent",
    "DecodeError",
    "Detection",
    "Event",
    "Frame",
    "Hazard",
    "HazardSeen",
    "Held",
    "HttpRequest",
    "Message",
    "MotionBurst",
    "Place",
    "Reviewed",
    "Stage",
    "Tick",
    "Zone",
    "class_of",
    "decode",
    "decode_as",
    "encode",
    "new_id",
    "utc_now",
]
