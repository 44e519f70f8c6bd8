from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from motion.config import ConfigError, cameras_path, load_cameras

ROOT = Path(__file__).parents[2]
SECRET = "rtsp://admin:hunter2@192.0.2.1/live"


def camera(**changes: Any) -> dict[str, Any]:
    base = {"id": "gate-1", "url": SECRET, "place": {"lat": 37.5, "lon": 127, "name": "Gate"}}
    return {key: value for key, value in {**base, **changes}.items() if value is not ...}


def write(folder: Path, document: Any) -> Path:
    path = folder / "cameras.yaml"
    text = document if isinstance(document, str) else yaml.safe_dump(document, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, document: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_cameras(write(folder, document))
    message = str(caught.value)
    assert "\n" not in message
    assert "hunter2" not in message
    assert message.startswith(str(folder / "cameras.yaml"))
    assert caught.value.__cause__ is None
    return message.removeprefix(f"{folder / 'cameras.yaml'}: ")


def test_the_example_is_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_1_USER", "u")
    monkeypatch.setenv("GATE_1_PASSWORD", "p")
    cameras = load_cameras(ROOT / "cameras.example.yaml").cameras
    assert [c.id for c in cameras] == ["gate-1", "alley-2", "recording", "desk"]
    assert cameras[0].thresholds == {"fire": 0.7}
    assert cameras[1].burst.interval_s == 5
    assert cameras[1].burst.frames == 4


def test_example_defaults_match_the_code(tmp_path: Path) -> None:
    stated = yaml.safe_load((ROOT / "cameras.example.yaml").read_text(encoding="utf-8"))["defaults"]
    bare = load_cameras(write(tmp_path, {"cameras": [camera()]}))
    assert load_cameras(write(tmp_path, {"cameras": [camera()], "defaults": stated})) == bare


def test_variables_are_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_PASSWORD", "hunter2")
    path = write(tmp_path, {"cameras": [camera(url="rtsp://admin:${CAM_PASSWORD}@192.0.2.1/live")]})
    assert load_cameras(path).cameras[0].url.get_secret_value() == SECRET


def test_a_url_is_not_shown_where_a_camera_is_printed(tmp_path: Path) -> None:
    cameras = load_cameras(write(tmp_path, {"cameras": [camera()]}))
    assert "hunter2" not in f"{cameras!r} {cameras} {cameras.model_dump_json()}"


def test_defaults_merge_by_key(tmp_path: Path) -> None:
    defaults = {"sensitivity": "low", "burst": {"frames": 6, "interval_s": 9}, "thresholds": {"gun": 0.9}}
    entries = [camera(id="a"), camera(id="b", sensitivity=1, burst={"frames": 2}, thresholds={"fire": 0.5})]
    a, b = load_cameras(write(tmp_path, {"defaults": defaults, "cameras": entries})).cameras
    assert (a.sensitivity, a.burst.frames, a.burst.interval_s, a.thresholds) == (0.2, 6, 9, {"gun": 0.9})
    assert (b.sensitivity, b.burst.frames, b.burst.interval_s) == (1, 2, 9)
    assert b.thresholds == {"gun": 0.9, "fire": 0.5}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("rtsps://h/x", "rtsps://h/x"),
        ("RTSP://H/X", "rtsp://H/X"),
        (0, "0"),
        ("webcam:1", "webcam:1"),
        ("clips/a.mp4", "{folder}/clips/a.mp4"),
    ],
)
def test_what_can_be_opened_is_accepted(tmp_path: Path, given: Any, meant: str) -> None:
    cameras = load_cameras(write(tmp_path, {"cameras": [camera(url=given)]}))
    assert cameras.cameras[0].url.get_secret_value() == meant.format(folder=tmp_path)


def test_a_node_reads_its_own_cameras_and_those_of_any(tmp_path: Path) -> None:
    entries = [camera(id="a", node="edge-1"), camera(id="b", node="edge-2"), camera(id="c")]
    cameras = load_cameras(write(tmp_path, {"cameras": entries}))
    assert [c.id for c in cameras.of_node("edge-1")] == ["a", "c"]
    assert [c.id for c in cameras.of_node(None)] == ["a", "b", "c"]


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BONGSU_CAMERAS", raising=False)
    assert cameras_path() == Path("cameras.yaml")
    monkeypatch.setenv("BONGSU_CAMERAS", "site/east.yaml")
    assert cameras_path() == Path("site/east.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensitivty": 1}, "camera 'gate-1': unknown key 'sensitivty': did you mean 'sensitivity'?"),
        ({"sensitivity": 2}, "camera 'gate-1': sensitivity: must be less than or equal to 1, got 2"),
        ({"sensitivity": "hgih"}, "sensitivity: must be low, medium, high or a number from 0 to 1, got 'hgih'"),
        ({"thresholds": {"fier": 0.3}}, "unknown key 'thresholds.fier': did you mean 'fire'?"),
        ({"thresholds": {"fire": 3}}, "thresholds.fire: must be less than or equal to 1, got 3"),
        ({"thresholds": {"fire": "high"}}, "thresholds.fire: must be a valid number, got 'high'"),
        ({"masks": [[[0, 0], [1, 1]]]}, "masks.0: must be polygons of 3 or more [x, y]"),
        ({"masks": [[[0, 0], [1, 1], [640, 2]]]}, "from 0 to 1 of the frame, got 640"),
        ({"masks": "all"}, "masks: must be polygons of 3 or more [x, y]"),
        ({"place": ...}, "camera 'gate-1': place is missing: add 'place:'"),
        ({"url": ...}, "camera 'gate-1': url is missing: add 'url:'"),
        ({"place": {"lat": 100, "lon": 0, "name": "x"}}, "place.lat: must be less than or equal to 90, got 100"),
        ({"place": {"lat": float("nan"), "lon": 0, "name": "x"}}, "place.lat: must be"),
        ({"place": {"lat": True, "lon": 0, "name": "x"}}, "place.lat: must be a valid number, got True"),
        ({"place": {"latitude": 1, "lon": 0, "name": "x"}}, "unknown key 'place.latitude'"),
        ({"burst": {"frams": 3}}, "unknown key 'burst.frams': did you mean 'frames'?"),
        ({"burst": {"frames": 99}}, "burst.frames: must be less than or equal to 16, got 99"),
        ({"burst": {"frames": 16, "spacing_s": 2}}, "burst: 16 frames 2.0 s apart last 30 s: keep a burst to 10 s"),
        ({"jpeg": {"quality": 101}}, "jpeg.quality: must be less than or equal to 100, got 101"),
        ({"id": 7}, "camera 7: id: must be text, got 7: write it in quotes"),
        ({"id": "a b"}, "id: must be 1 to 64 letters, digits, '-', '_' or '.', got 'a b'"),
        ({"id": ...}, "camera number 1: id is missing"),
        ({"id": SECRET}, "got 'rtsp://…'"),
        ({"url": "http://admin:hunter2@x/"}, "or be a file or webcam:0, got 'http://…'"),
        ({"url": [SECRET]}, "camera 'gate-1': url: must be rtsp://…, rtsps://…, a file or webcam:0"),
        ({"url": ""}, "url: must be rtsp://…"),
        ({"url": "rtsp://cam%ra.example/hunter2"}, "url: must name a host, and perhaps a port, like 192.0.2.10:554"),
        ({"url": "rtsp://[2001:db8::7/x"}, "url: must name a host"),
        ({"url": "rtsp://a host/x"}, "url: must name a host"),
        ({"url": "rtsp://host:port/x"}, "url: must name a host"),
        ({"url": "rtsp:///x"}, "url: must name a host"),
        ({"url": "rtsp://user:pass/word@host/x"}, "must be written %2F"),
        ({"url": "webcam:front"}, "url: must be webcam: and the number of the camera, as in webcam:0"),
        ({"url": "rtsp://${NOT_SET_ANYWHERE}@x/"}, "url: ${NOT_SET_ANYWHERE} is not set: export NOT_SET_ANYWHERE"),
        ({"url": "rtsp://${not-a-name}@x/"}, "url: a variable must be written ${NAME}"),
        ({"url": "~nobody-of-this-name/a.mp4"}, "url: ~ has no home directory here: write the full path of the file"),
        ({"node": 3}, "node: must be a valid string, got 3"),
        ({"sensitivity": SECRET}, "got 'rtsp://…'"),
    ],
)
def test_wrong_camera_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refusal(tmp_path, {"cameras": [camera(**changes)]})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "must have a list 'cameras:'"),
        ("cameras:\n", "must have a list 'cameras:'"),
        ("- a\n- b\n", "must have a list 'cameras:'"),
        ({"cameras": ["gate"]}, "camera number 1 must be a mapping"),
        ({"cameras": [], "camera": []}, "unknown key 'camera': did you mean 'cameras'?"),
        ({"cameras": [camera(), camera()]}, "camera 'gate-1' appears twice"),
        ({"cameras": [], "defaults": {"frames": 3}}, "defaults: unknown key 'frames': known are node, masks"),
        ({"cameras": [], "defaults": [3]}, "defaults: must be a mapping, got [3]"),
        ({"cameras": [], "defaults": {"url": SECRET}}, "defaults: unknown key 'url'"),
        (f"cameras:\n- id: a\n  url: {SECRET}\n url: b\n", "is not YAML in line 4, column"),
        (
            f"cameras:\n- id: a\n  url: {SECRET}\n  url: {SECRET}\n",
            "is not YAML in line 4, column 3: key 'url' appears twice",
        ),
        (f"cameras: [{SECRET}: {{", "is not YAML in line"),
        ("cameras: \x00", "is not YAML"),
        ("cameras:\n- id: a\n  url: {{ gate_url }}\n", "in line 3, column 9: a key must be a word; text in braces"),
        ("cameras:\n- ? [a]\n  : b\n", "is not YAML in line 2, column 5: a key must be a word"),
        ("cameras: !!bool maybe", "is not YAML"),
        ("cameras: !!int ''", "is not YAML"),
        ("cameras: !!timestamp soon", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, document: Any, message: str) -> None:
    assert message in refusal(tmp_path, document)


def test_missing_or_binary_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file: copy cameras\.example\.yaml"):
        load_cameras(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_cameras(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"cameras: \xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_cameras(tmp_path / "latin.yaml")


CORNER = [[0, 0.5], [0.5, 0.5], [0.5, 1]]


def test_zones_travel_with_their_names_in_both_languages(tmp_path: Path) -> None:
    zones = [
        {"name": {"en": "the crossing", "ko": "횡단보도", "ja": "横断歩道"}, "polygon": CORNER},
        {"name": "A동", "polygon": CORNER},
    ]
    (read,) = load_cameras(write(tmp_path, {"cameras": [camera(zones=zones)]})).cameras
    first, second = (zone.wire for zone in read.zones)
    assert first.name.texts == {"en": "the crossing", "ko": "횡단보도", "ja": "横断歩道"}
    assert (second.name.en, second.name.ko) == ("A동", "A동")
    assert first.holds(0.4, 0.6) and not first.holds(0.1, 0.9) and not first.holds(0.6, 0.9)


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ({"name": "a", "polygon": [[0, 0], [1, 0]]}, "zones.0.polygon: must be polygons of 3 or more [x, y]"),
        ({"name": "a", "polygon": [[0, 0], [1, 0], [1, 2]]}, "each from 0 to 1 of the frame, got 2"),
        ({"name": "a\nb", "polygon": CORNER}, "zones.0.name.en: must be a name on one line"),
        ({"name": "", "polygon": CORNER}, "zones.0.name.en: must have at least 1 character"),
        ({"name": {"en": "a"}, "polygon": CORNER}, "zones.0.name.ko: must be as in zones: [{name: {en: …, ko: …}"),
        (
            {"name": {"en": "a", "ko": "b", "kr": "c"}, "polygon": CORNER},
            "zones.0.name: must be in languages of captions, en, ja, ko, got 'kr'",
        ),
        ({"name": 5, "polygon": CORNER}, "zones.0.name: must be as in zones"),
        ("gate", "zones.0: must be as in zones: [{name: {en: …, ko: …}, polygon: [[x, y], …]}], got 'gate'"),
    ],
)
def test_zone_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, zone: Any, said: str) -> None:
    assert said in refusal(tmp_path, {"cameras": [camera(zones=[zone])]})
