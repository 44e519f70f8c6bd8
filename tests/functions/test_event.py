from __future__ import annotations

import math
from base64 import b64decode
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import (
    Box,
    CameraEvent,
    CameraStatus,
    Caption,
    Captioned,
    CustomEvent,
    DecodeError,
    Detection,
    Event,
    Frame,
    HazardSeen,
    MotionBurst,
    Place,
    Zone,
    decode,
    encode,
    new_id,
    utc_now,
)

AT = datetime(2026, 3, 2, 5, 3, tzinfo=UTC)
PLACE = Place(37.5, 127.0, "시청 앞", "Seoul")
FRAME = Frame(b"\xff\xd8\xff\xd9", AT)
FIRE = Detection("fire", 0.9, Box(0.1, 0.2, 0.3, 0.4))
ZONE = Zone(Caption("gate", "문"), ((0, 0), (1, 0), (1, 1)))
COMMON = {"id": "e1", "camera": "gate-1", "place": PLACE, "captured_at": AT}

# What the encoder of wire version 1 wrote, and what it is now.
VERSION_1 = {
    "motion": (
        "3gAUomlkomUxpHR5cGWmbW90aW9upmNhbWVyYaZnYXRlLTGlcGxhY2WEo2xhdMtAQsAAAAAAAKNsb27LQF/AAAAAAACkbmFtZarsi5zssq0g"
        "7JWepnJlZ2lvbqVTZW91bKtjYXB0dXJlZF9hdNb/aaUaBKZoYXphcmTApmZyYW1lc5KCpGpwZWfEBP/Y/9mrY2FwdHVyZWRfYXTW/2mlGgSC"
        "pGpwZWfEBP/Y/9mrY2FwdHVyZWRfYXTW/2mlGgSlbW92ZWSUAADLP+AAAAAAAADLP+AAAAAAAACqZGV0ZWN0aW9uc5Coc2VhcmNoZWSQqnRo"
        "cmVzaG9sZHOBpGZpcmXLP+AAAAAAAAClem9uZXORkoKiZW6kZ2F0ZaJrb6PrrLiTkgAAkgEAkgEBqHNuYXBzaG90wKl0aHVtYm5haWzAqGxv"
        "Y2F0aW9uwKdjYXB0aW9uwKZzdGF0dXOgpGxhdGXCpXRyYWNlkYOkbmFtZaZtb3Rpb26mZ290X2F01v9ppRoEp2RvbmVfYXTW/2mlGgSndmVy"
        "c2lvbgE="
    ),
    "fire": (
        "3gAUomlkomUxpHR5cGWkZmlyZaZjYW1lcmGmZ2F0ZS0xpXBsYWNlhKNsYXTLQELAAAAAAACjbG9uy0BfwAAAAAAApG5hbWWq7Iuc7LKtIOyV"
        "nqZyZWdpb26lU2VvdWyrY2FwdHVyZWRfYXTW/2mlGgSmaGF6YXJkpGZpcmWmZnJhbWVzkYKkanBlZ8QE/9j/2atjYXB0dXJlZF9hdNb/aaUa"
        "BKVtb3ZlZMCqZGV0ZWN0aW9uc5GDpWxhYmVspGZpcmWqY29uZmlkZW5jZcs/7MzMzMzMzaNib3iUyz+5mZmZmZmayz/JmZmZmZmayz/TMzMz"
        "MzMzyz/ZmZmZmZmaqHNlYXJjaGVkkqRmaXJlpnBlcnNvbqp0aHJlc2hvbGRzgKV6b25lc5GSgqJlbqRnYXRlomtvo+usuJOSAACSAQCSAQGo"
        "c25hcHNob3TAqXRodW1ibmFpbMCobG9jYXRpb27Ap2NhcHRpb27ApnN0YXR1c6CkbGF0ZcOldHJhY2WQp3ZlcnNpb24B"
    ),
    "captioned": (
        "3gAUomlkomUxpHR5cGWpY2FwdGlvbmVkpmNhbWVyYaZnYXRlLTGlcGxhY2WEo2xhdMtAQsAAAAAAAKNsb27LQF/AAAAAAACkbmFtZarsi5zs"
        "sq0g7JWepnJlZ2lvbqVTZW91bKtjYXB0dXJlZF9hdNb/aaUaBKZoYXphcmSkZmlyZaZmcmFtZXORgqRqcGVnxAT/2P/Zq2NhcHR1cmVkX2F0"
        "1v9ppRoEpW1vdmVkwKpkZXRlY3Rpb25zkYOlbGFiZWykZmlyZapjb25maWRlbmNlyz/szMzMzMzNo2JveJTLP7mZmZmZmZrLP8mZmZmZmZrL"
        "P9MzMzMzMzPLP9mZmZmZmZqoc2VhcmNoZWSSpGZpcmWmcGVyc29uqnRocmVzaG9sZHOApXpvbmVzkKhzbmFwc2hvdMQBU6l0aHVtYm5haWzE"
        "AVSobG9jYXRpb27EAUynY2FwdGlvboKiZW6kRmlyZaJrb6btmZTsnqymc3RhdHVzoKRsYXRlwqV0cmFjZZCndmVyc2lvbgE="
    ),
    "camera": (
        "3gAUomlkomUxpHR5cGWmY2FtZXJhpmNhbWVyYaZnYXRlLTGlcGxhY2WEo2xhdMtAQsAAAAAAAKNsb27LQF/AAAAAAACkbmFtZarsi5zssq0g"
        "7JWepnJlZ2lvbqVTZW91bKtjYXB0dXJlZF9hdNb/aaUaBKZoYXphcmTApmZyYW1lc5ClbW92ZWTAqmRldGVjdGlvbnOQqHNlYXJjaGVkkKp0"
        "aHJlc2hvbGRzgKV6b25lc5Coc25hcHNob3TAqXRodW1ibmFpbMCobG9jYXRpb27Ap2NhcHRpb27ApnN0YXR1c65sb3N0OiBubyByb3V0ZaRs"
        "YXRlwqV0cmFjZZCndmVyc2lvbgE="
    ),
    "parked": (
        "3gAUomlkomUxpHR5cGWmcGFya2VkpmNhbWVyYaZnYXRlLTGlcGxhY2WEo2xhdMtAQsAAAAAAAKNsb27LQF/AAAAAAACkbmFtZarsi5zssq0g"
        "7JWepnJlZ2lvbqVTZW91bKtjYXB0dXJlZF9hdNb/aaUaBKZoYXphcmTApmZyYW1lc5GCpGpwZWfEBP/Y/9mrY2FwdHVyZWRfYXTW/2mlGgSl"
        "bW92ZWTAqmRldGVjdGlvbnORg6VsYWJlbKRmaXJlqmNvbmZpZGVuY2XLP+zMzMzMzM2jYm94lMs/uZmZmZmZmss/yZmZmZmZmss/0zMzMzMz"
        "M8s/2ZmZmZmZmqhzZWFyY2hlZJCqdGhyZXNob2xkc4Clem9uZXOQqHNuYXBzaG90wKl0aHVtYm5haWzAqGxvY2F0aW9uwKdjYXB0aW9uwKZz"
        "dGF0dXOpdHdvIGhvdXJzpGxhdGXCpXRyYWNlkKd2ZXJzaW9uAQ=="
    ),
}
UPGRADED = {
    "motion": MotionBurst(
        **COMMON, frames=(FRAME, FRAME), moved=Box(0, 0, 0.5, 0.5), thresholds={"fire": 0.5}, zones=(ZONE,)
    ).with_stage("motion", AT, AT),
    "fire": HazardSeen(
        **COMMON, hazard="fire", frame=FRAME, detections=(FIRE,), labels_searched=("fire", "person"), zones=(ZONE,),
        late=True,
    ),
    "captioned": Captioned(
        **COMMON, hazard="fire", detections=(FIRE,), snapshot=b"S", thumbnail=b"T", location=b"L",
        caption=Caption("Fire", "화재"),
    ),
    "camera": CameraStatus(**COMMON, status="lost: no route"),
    "parked": CustomEvent(**COMMON, type="parked", frames=(FRAME,), detections=(FIRE,), status="two hours"),
}  # fmt: skip


class Occupied(CameraEvent, frozen=True, kw_only=True, tag="occupied"):
    """A type of a function's own."""

    minutes: int


class NodeSeen(Event, frozen=True, kw_only=True, tag="node"):
    """A fact about something else than a camera."""

    node: str
    seen_at: datetime

    @property
    def subject(self) -> str:
        return self.node

    @property
    def time(self) -> datetime:
        return self.seen_at


def event(**changes: object) -> HazardSeen:
    whole = HazardSeen(
        id=new_id(),
        hazard="fire",
        camera="gate-1",
        place=PLACE,
        captured_at=utc_now(),
        frame=Frame(b"\xff\xd8\x00\xff\xd9", utc_now()),
        detections=(Detection("fire", 0.9, Box(0.1, 0.2, 0.3, 0.4)),),
        labels_searched=("fire", "person"),
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
        {"id": ""},
        {"camera": "c" * 129},
        {"version": 3},
        {"captured_at": datetime.now()},
        {"captured_at": datetime.now(timezone(timedelta(hours=9)))},
    ],
)
def test_a_wrong_field_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        event(**changes)


@pytest.mark.parametrize("type_", ["Fire!", "", "fire"])
def test_a_custom_type_is_a_routing_key_and_not_one_of_ours(type_: str) -> None:
    with pytest.raises(ValueError, match="type"):
        CustomEvent(**COMMON, type=type_)


def test_a_burst_without_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="frames"):
        MotionBurst(**COMMON, frames=())


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
    fields = msgspec.to_builtins(event(frame=None))
    assert decode(msgspec.msgpack.encode({**fields, "weather": "rain"})).type == "fire"


def test_an_event_without_its_optional_fields_still_reads() -> None:
    sent = event()
    bare = msgspec.msgpack.decode(encode(sent).body)
    del bare["zones"], bare["late"]
    assert decode(msgspec.msgpack.encode(bare)) == sent


def test_zones_cost_a_message_little() -> None:
    zone = Zone(Caption("the crossing", "횡단보도"), ((0.1, 0.7), (0.6, 0.7), (0.7, 1.0), (0.0, 1.0)))
    zoned = event(zones=(zone,))
    assert decode(encode(zoned).body).zones == (zone,)
    assert len(encode(zoned).body) - len(encode(event(id=zoned.id)).body) < 150


@pytest.mark.parametrize("type_", VERSION_1)
def test_version_1_in_a_queue_reads_as_the_new_type(type_: str) -> None:
    read = decode(b64decode(VERSION_1[type_]))
    assert (type(read), read, read.type) == (type(UPGRADED[type_]), UPGRADED[type_], type_)
    assert decode(encode(read).body) == read


def test_version_1_captioned_loses_its_frame() -> None:
    old = b64decode(VERSION_1["captioned"])
    assert FRAME.jpeg in old
    assert FRAME.jpeg not in encode(decode(old)).body


@pytest.mark.parametrize("changes", [{"caption": None}, {"hazard": None}])
@pytest.mark.parametrize("version", [1, 2])
def test_captioned_needs_its_hazard_and_caption(changes: dict[str, None], version: int) -> None:
    fields = msgspec.msgpack.decode(b64decode(VERSION_1["captioned"])) | changes | {"version": version}
    with pytest.raises(DecodeError, match=r"^not an event: [^\n]+$"):
        decode(msgspec.msgpack.encode(fields))


def test_an_event_that_names_no_version_is_of_version_1() -> None:
    fields = msgspec.msgpack.decode(b64decode(VERSION_1["fire"]))
    del fields["version"]
    assert decode(msgspec.msgpack.encode(fields)) == UPGRADED["fire"]


def test_the_type_decides_the_class() -> None:
    for sent in UPGRADED.values():
        read = decode(encode(sent).body)
        assert read == sent and type(read) is type(sent)


def test_captioned_has_no_field_for_a_frame() -> None:
    assert not {"frame", "frames"} & set(Captioned.__struct_fields__)
    with pytest.raises(TypeError):
        Captioned(**COMMON, hazard="fire", caption=Caption("Fire", "화재"), frames=(FRAME,))  # type: ignore[call-arg]


def test_a_functions_own_type_travels() -> None:
    sent = Occupied(**COMMON, minutes=90).with_stage("parking", AT, AT)
    assert encode(sent).routing_key == sent.type == "occupied"
    assert decode(encode(sent).body) == sent


def test_a_type_nobody_declared_reads_as_a_custom_event() -> None:
    fields = msgspec.msgpack.decode(encode(Occupied(**COMMON, minutes=90)).body) | {"type": "crowded"}
    assert decode(msgspec.msgpack.encode(fields)) == CustomEvent(**COMMON, type="crowded")


def test_a_fact_about_no_camera_has_its_own_subject() -> None:
    message = encode(NodeSeen(id="n", node="edge-1", seen_at=AT))
    assert message.headers["cloudEvents:subject"] == "edge-1"
    assert message.headers["cloudEvents:source"] == "/edge-1/node"
    assert decode(message.body).time == AT


def test_a_tag_that_is_no_routing_key_is_refused_at_its_class() -> None:
    with pytest.raises(ValueError, match="type must match"):
        type(CameraEvent)("Bad", (CameraEvent,), {}, tag="Not one")


def test_event_of_version_1_builds_the_type() -> None:
    built = Event(**COMMON, type="fire", hazard="fire", frames=(FRAME,), detections=(FIRE,), searched=("fire",))
    assert built == HazardSeen(**COMMON, hazard="fire", frame=FRAME, detections=(FIRE,), labels_searched=("fire",))
    assert (built.frames, built.searched) == ((FRAME,), ("fire",))
    assert Event(**COMMON, type="parked", status="two hours") == CustomEvent(
        **COMMON, type="parked", status="two hours"
    )
    with pytest.raises(TypeError, match="weather"):
        Event(**COMMON, type="fire", weather="rain")
