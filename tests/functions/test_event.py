from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import Box, Caption, DecodeError, Detection, Event, Frame, Place, Zone, decode, encode, new_id, utc_now


def event(**changes: object) -> Event:
    whole = Event(
        id=new_id(),
        type="fire",
        camera="gate-1",
        place=Place(37.5, 127.0, "시청 앞", "Seoul"),
        captured_at=utc_now(),
        hazard="fire",
        frames=(Frame(b"\xff\xd8\x00\xff\xd9", utc_now()),),
        detections=(Detection("fire", 0.9, Box(0.1, 0.2, 0.3, 0.4)),),
        searched=("fire", "person"),
        caption=Caption("Fire", "화재"),
    )
    return msgspec.structs.replace(whole, **changes)


def test_an_event_survives_the_wire() -> None:
    sent = event().with_stage("detect", utc_now(), utc_now())
    assert decode(encode(sent).body) == sent


def test_headers_repeat_the_cloudevents_attributes() -> None:
    sent = event()
    headers = encode(sent).headers
    assert headers["cloudEvents:id"] == sent.id
    assert headers["cloudEvents:type"] == "fire"
    assert headers["cloudEvents:subject"] == "gate-1"
    assert headers["cloudEvents:source"] == "/cameras/gate-1/fire"
    assert datetime.fromisoformat(headers["cloudEvents:time"]) == sent.captured_at


@pytest.mark.parametrize(
    "corners", [(-0.1, 0, 1, 1), (0, 0, 1.1, 1), (0.5, 0, 0.4, 1), (0, 0.5, 1, 0.4), (math.nan, 0, 1, 1)]
)
def test_a_box_outside_its_frame_is_refused(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="box must have"):
        Box(*corners)


def test_boxes_overlap_by_their_share() -> None:
    assert Box(0, 0, 0.5, 0.5).iou(Box(0, 0, 0.5, 0.5)) == 1
    assert Box(0, 0, 0.5, 0.5).iou(Box(0.5, 0.5, 1, 1)) == 0
    assert Box(0, 0, 0.4, 0.2).iou(Box(0.2, 0, 0.6, 0.2)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "Fire!"},
        {"id": ""},
        {"camera": "c" * 129},
        {"version": 2},
        {"captured_at": datetime.now()},
        {"captured_at": datetime.now(timezone(timedelta(hours=9)))},
    ],
)
def test_a_wrong_field_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        event(**changes)


def test_a_wrong_event_on_the_wire_is_a_decode_error() -> None:
    fields = msgspec.to_builtins(event())
    for name, value in {"version": 9, "place": None, "detections": [{"label": "fire"}], "captured_at": "noon"}.items():
        with pytest.raises(DecodeError):
            decode(msgspec.msgpack.encode({**fields, name: value}))


@given(st.binary(max_size=300))
def test_random_bytes_are_never_more_than_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(body)


def test_deep_nesting_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        decode(b"\x81\xa1a" * 100_000)


@given(st.integers(min_value=0, max_value=400), st.integers(min_value=0, max_value=255))
def test_a_flipped_byte_is_an_event_or_a_decode_error(position: int, value: int) -> None:
    body = bytearray(encode(event()).body)
    body[position % len(body)] = value
    try:
        decode(bytes(body))
    except DecodeError:
        return


def test_unknown_fields_of_a_newer_publisher_are_ignored() -> None:
    fields = msgspec.to_builtins(event(frames=()))
    assert decode(msgspec.msgpack.encode({**fields, "weather": "rain"})).type == "fire"


def test_an_event_without_zones_and_location_still_reads() -> None:
    sent = event()
    bare = msgspec.msgpack.decode(encode(sent).body)
    del bare["zones"], bare["location"]
    assert decode(msgspec.msgpack.encode(bare)) == sent


def test_zones_cost_a_message_little() -> None:
    zone = Zone(Caption("the crossing", "횡단보도"), ((0.1, 0.7), (0.6, 0.7), (0.7, 1.0), (0.0, 1.0)))
    zoned = event(zones=(zone,))
    assert decode(encode(zoned).body).zones == (zone,)
    assert len(encode(zoned).body) - len(encode(event(id=zoned.id)).body) < 150
