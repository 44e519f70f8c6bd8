"""What the page for cameras asks of motion, and what motion does about it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from motion.config import load_cameras
from motion.setup import page
from motion.setup.page import Request, RequestError, answer

PLACE = {"lat": 37.5, "lon": 127.0, "name": "Market"}
MASK = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.1]]
WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
BEFORE = "# ours\ncameras:\n  - id: street   # a clip\n    url: clip.mp4\n    place: {lat: 1, lon: 2, name: A}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.yaml"
    path.write_text(BEFORE)
    return path


def test_a_camera_is_looked_at_before_it_is_saved(file: Path, draw_clip: Any) -> None:
    draw_clip("other.mp4")
    found = answer(Request("look", camera="new", url="other.mp4"), file)
    assert (found["codec"], found["width"], found["height"]) == ("h264", 320, 192)
    assert found["pictures"][0].startswith(b"\xff\xd8")
    assert file.read_text() == BEFORE


def test_the_gate_is_tried_with_a_mask(file: Path, draw_clip: Any) -> None:
    draw_clip(seconds=8, moves_s=4)
    free = answer(Request("tune", camera="street"), file)
    assert free["outcomes"]["moving"]
    assert len(free["pictures"]) == len(free["moments"]) > 0
    assert answer(Request("tune", camera="street", masks=[WHOLE]), file)["outcomes"] == {}


def test_a_changed_camera_keeps_what_was_there(file: Path) -> None:
    zones = [{"name": {"en": "the crossing", "ko": "횡단보도"}, "polygon": MASK}]
    answer(Request("save", camera="street", zones=zones, masks=[MASK]), file)
    assert file.read_text().startswith(BEFORE)
    street = load_cameras(file).cameras[0]
    assert (street.zones[0].name.ko, len(street.masks)) == ("횡단보도", 1)


def test_the_first_camera_makes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    assert answer(Request("list"), file)["cameras"] == []
    answer(Request("save", camera="gate", url="rtsp://192.0.2.7/", place=PLACE), file)
    assert [camera["id"] for camera in answer(Request("list"), file)["cameras"]] == ["gate"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"camera": "x", "url": "http://192.0.2.7/", "place": PLACE}, "must start with rtsp:// or rtsps://"),
        ({"camera": "a b", "url": "a.mp4", "place": PLACE}, "id: must be 1 to 64 letters"),
        ({"camera": "x", "url": "rtsp://192.0.2.7/"}, "place is missing"),
        ({"camera": "x", "place": PLACE}, "url is missing"),
        ({"camera": "street", "masks": [[[0, 0], [2, 0], [1, 1]]]}, "each from 0 to 1 of the frame, got 2"),
        ({"camera": "street", "sensitivity": 2.0}, "sensitivity: must be less than or equal to 1"),
    ],
)
def test_what_motion_would_refuse_is_not_saved(file: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        answer(Request("save", **fields), file)
    assert file.read_text() == BEFORE


def test_a_refusal_is_an_answer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONGSU_CAMERAS", str(file))
    for given, said in (({"do": "look", "camera": "x", "url": "rtsp://a:s3cret@127.0.0.1:1/"}, "refused"), ({}, "do")):
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(given).encode())))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
        assert page.main() == 1
        error = msgspec.msgpack.decode(out.getvalue())["error"]
        assert said in error and "s3cret" not in error
