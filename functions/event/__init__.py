"""What travels: events, their parts and their wire form, under one name for every room that builds or reads them."""

from functions.event.custom import CustomEvent
from functions.event.facts import (
    WIRE_VERSION,
    CameraEvent,
    CameraStatus,
    Captioned,
    Event,
    HazardSeen,
    MotionBurst,
    Reviewed,
    new_id,
    utc_now,
)
from functions.event.geometry import Box
from functions.event.parts import Caption, Detection, Frame, Place, Stage, Zone
from functions.event.wire import CONTENT_TYPE, DecodeError, Message, decode, encode
from functions.hazards import HAZARDS, Hazard

__all__ = [
    "CONTENT_TYPE",
    "HAZARDS",
    "WIRE_VERSION",
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
    "Message",
    "MotionBurst",
    "Place",
    "Reviewed",
    "Stage",
    "Zone",
    "decode",
    "encode",
    "new_id",
    "utc_now",
]
