"""The published schema is that of the events: what we encode it describes, in JSON's terms."""

from __future__ import annotations

import base64
import importlib.util
import json
from datetime import datetime
from pathlib import Path

import jsonschema
import msgspec
import pytest

from functions import Answered, CustomEvent, Place, Zone, encode, utc_now
from functions.event import HAZARDS, Caption
from functions.testing import make_event

ROOT = Path(__file__).resolve().parents[2]
ZONE = Zone(Caption("Gate", "문"), ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
EVENTS = {
    "motion": make_event("motion", zones=(ZONE,), thresholds={"fire": 0.5}),
    "hazard": make_event("fire", zones=(ZONE,)).with_stage("detect", utc_now(), utc_now()),
    "captioned": make_event("captioned", thumbnail=b"T", location=b"L"),
    "camera": make_event("camera"),
    "custom": CustomEvent(type="parked", id="1", camera="a", place=Place(1.0, 2.0, "A"), captured_at=utc_now()),
    "request": make_event("hook-report"),
    "answered": Answered(id="1", hook="report", answered_at=utc_now(), state="done", result=b"{}"),
    "tick": make_event("tick-nightly"),
}


def plain(value):
    """What any MessagePack library reads, in JSON's terms."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else value


def schema(name):
    return json.loads((ROOT / f"docs/schema/{name}.json").read_text())


@pytest.mark.parametrize("name", EVENTS)
def test_schema_describes_what_travels(name):
    checker = jsonschema.Draft202012Validator(schema(name), format_checker=jsonschema.FormatChecker())
    fields = plain(msgspec.msgpack.decode(encode(EVENTS[name]).body))
    checker.validate(fields)
    # A field of a later release passes; a missing one fails.
    checker.validate({**fields, "new": 1})
    for required in schema(name)["required"]:
        assert not checker.is_valid({k: v for k, v in fields.items() if k != required}), required


def test_each_class_has_its_schema():
    spec = importlib.util.spec_from_file_location("event_schema", ROOT / "tools/event_schema.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(module.FILES) == set(EVENTS) == {path.stem for path in (ROOT / "docs/schema").glob("*.json")}
    assert all(type(EVENTS[name]) is kind for name, kind in module.FILES.items())


def test_schema_says_what_is_binary_and_what_a_time():
    hazard = schema("hazard")
    assert hazard["properties"]["captured_at"]["x-msgpack"] == "timestamp"
    assert hazard["$defs"]["Frame"]["properties"]["jpeg"]["x-msgpack"] == "bin"
    assert hazard["properties"]["type"]["enum"] == [*HAZARDS]
