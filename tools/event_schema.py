"""Writes docs/schema/*.json: each type of event as JSON Schema, from the classes; `tools/generate.py` calls it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from functions.event import (
    Answered,
    CameraStatus,
    Captioned,
    CustomEvent,
    Event,
    HazardSeen,
    HttpRequest,
    MotionBurst,
    Tick,
)
from functions.event.facts import WIRE_VERSION
from functions.hazards import HAZARDS

FILES: dict[str, type[Event]] = {
    "motion": MotionBurst,
    "hazard": HazardSeen,
    "captioned": Captioned,
    "camera": CameraStatus,
    "custom": CustomEvent,
    "request": HttpRequest,
    "answered": Answered,
    "tick": Tick,
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {"request": "^hook-[a-z][a-z0-9-]*$", "tick": "^tick-[a-z][a-z0-9_]*$", "custom": "^[a-z][a-z0-9_-]{0,62}$"}


def schemas() -> dict[str, str]:
    """The text of each file, by its name without `.json`."""
    return {name: json.dumps(_schema(name, kind), indent=2, ensure_ascii=False) + "\n" for name, kind in FILES.items()}


def _schema(name: str, kind: type[Event]) -> dict[str, Any]:
    (_, parts) = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    own = parts.pop(kind.__name__)
    _mark(own)
    _mark(parts)
    properties = own["properties"]
    properties["version"] = {"const": WIRE_VERSION}
    if name in _TYPES:
        properties["type"] = {"type": "string", "pattern": _TYPES[name]}
    elif name == "hazard":
        properties["type"] = {"enum": [str(hazard) for hazard in HAZARDS]}
    # msgspec reads an event without its version as one of version 1.
    own["required"] = sorted({*own.get("required", ()), "type", "version"})
    return {"$schema": _DIALECT, "title": name, **{k: v for k, v in own.items() if k != "title"}, "$defs": parts}


def _mark(schema: Any) -> None:
    """Say how MessagePack has what JSON has only as text: `x-msgpack` is "bin", or "timestamp" (extension -1)."""
    if isinstance(schema, list):
        for one in schema:
            _mark(one)
    elif isinstance(schema, dict):
        if schema.get("contentEncoding") == "base64":
            schema["x-msgpack"] = "bin"
        for name, of in schema.get("properties", {}).items():
            # msgspec names the format only of times whose zone it checks itself; ours are checked to be UTC.
            if name.endswith("_at") and of.get("type") == "string":
                of |= {"format": "date-time", "x-msgpack": "timestamp"}
        for value in schema.values():
            _mark(value)
