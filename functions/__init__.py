"""The FaaS SDK: declare a function with `@on`, receive and return `Event`s, and let the runtime do the rest."""

from functions.event import (
    HAZARDS,
    Box,
    Caption,
    DecodeError,
    Detection,
    Event,
    Frame,
    Hazard,
    Message,
    Place,
    Stage,
    Zone,
    decode,
    encode,
    new_id,
    utc_now,
)
from functions.function import Reject, Retry, on

__all__ = [
    "HAZARDS",
    "Box",
    "Caption",
    "DecodeError",
    "Detection",
    "Event",
    "Frame",
    "Hazard",
    "Message",
    "Place",
    "Reject",
    "Retry",
    "Stage",
    "Zone",
    "decode",
    "encode",
    "new_id",
    "on",
    "utc_now",
]
