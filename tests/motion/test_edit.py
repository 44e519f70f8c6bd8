from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from motion.edit import CamerasText, EditError

ENTRY = {
    "id": "new",
    "url": "rtsp://${CAMERA_USER}:${CAMERA_PASSWORD}@192.0.2.7/x?a=1&b=2#c",
    "place": {"lat": 37.5, "lon": 127.0, "name": "Hall: east, 동문"},
    "masks": [[[0.0, 0.0], [0.5, 0.25], [1.0, 1.0]]],
}
EXAMPLE = (Path(__file__).parents[2] / "cameras.example.yaml").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "cameras:\n",
        "cameras: []  # none yet\n",
        "defaults: {node: any}\ncameras: []\n",
        EXAMPLE,
        "cameras:\n- id: a\n  url: b.mp4\n# the end\ndefaults: {}\n",
        "cameras:\n    -   id: a\n        url: |\n          b.mp4\n\n\ndefaults: {}",
        "cameras:\r\n  - id: a\r\n    url: b.mp4 # why\r\n",
        "defaults:\n  masks: &m\n  - [[0, 0], [1, 0], [1, 1]]\ncameras:\n  - id: a\n    masks: *m  # two\n  # after\n",
        "cameras:\n  - {id: a, url: b.mp4}\n",
    ],
)
def test_an_added_camera_leaves_the_rest_as_it_was(text: str) -> None:
    edited = CamerasText(text)
    edited.add(ENTRY, ["found today"])
    before = (yaml.safe_load(text) or {}).get("cameras") or []
    assert yaml.safe_load(edited.text)["cameras"] == [*before, ENTRY]
    kept = [line for line in text.splitlines() if line and "cameras: []" not in line]
    lines = edited.text.splitlines()
    rest = iter(lines)
    assert all(line in rest for line in kept), "a line is gone or has another place"
    assert ("\r\n" in edited.text) == ("\r\n" in text)
    assert lines.count("") - text.splitlines().count("") in (0, 1)


def test_a_commented_entry_is_complete_once_uncommented() -> None:
    edited = CamerasText("cameras:\n  - id: a\n    url: b.mp4\n")
    edited.add(ENTRY, is_comment=True)
    assert len(yaml.safe_load(edited.text)["cameras"]) == 1
    edited.text = edited.text.replace("  # ", "  ")
    assert yaml.safe_load(edited.text)["cameras"][1] == ENTRY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cameras: [{id: a, url: b}]\n", "on one line: give each camera a line of its own"),
        ("cameras: {a: b}\n", "must hold a list 'cameras:'"),
        ("- a\n", "must hold a list 'cameras:'"),
        ("cameras: [\n", "is not YAML"),
    ],
)
def test_a_file_that_cannot_be_changed_says_why(text: str, said: str) -> None:
    with pytest.raises(EditError, match=said):
        CamerasText(text).add(ENTRY)


def test_saving_keeps_permissions_and_follows_links(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "cameras.yaml"
    real.write_text("cameras: []\n")
    real.chmod(0o640)
    link.symlink_to(real)
    edited = CamerasText.read(link)
    edited.add(ENTRY)
    edited.save(link)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert yaml.safe_load(real.read_text())["cameras"] == [ENTRY]
    assert list(tmp_path.glob(".*")) == []


BEFORE = """\
cameras:
  - id: a
    url: a.mp4   # a recording
    place: {lat: 1, lon: 2, name: A}   # the corner
    masks:
      - [[0, 0], [1, 0], [1, 1]]   # the clock
      # the tree, until it is cut
      - [[0, 0], [0.5, 0], [0.5, 1]]
  - {id: b, url: b.mp4}
"""
NEW = [[0, 0], [0.25, 0], [0.25, 1]]


@pytest.mark.parametrize(
    ("camera", "key", "value", "gone", "come"),
    [
        ("a", "masks", [[[0, 0], [1, 0], [1, 1]], NEW],
         ["      - [[0, 0], [0.5, 0], [0.5, 1]]"], ["      - [[0, 0], [0.25, 0], [0.25, 1]]"]),
        ("a", "masks", [], [
            "    masks:", "      - [[0, 0], [1, 0], [1, 1]]   # the clock", "      # the tree, until it is cut",
            "      - [[0, 0], [0.5, 0], [0.5, 1]]"], ["    masks: []"]),
        ("a", "url", "c.mp4", ["    url: a.mp4   # a recording"], ["    url: c.mp4   # a recording"]),
        ("a", "place", {"lat": 3, "lon": 4, "name": "B"},
         ["    place: {lat: 1, lon: 2, name: A}   # the corner"],
         ["    place: {lat: 3, lon: 4, name: B}   # the corner"]),
        ("a", "sensitivity", 0.7, [], ["    sensitivity: 0.7"]),
        ("a", "zones", [{"name": "door", "polygon": NEW}], [],
         ["    zones:", "      - {name: door, polygon: [[0, 0], [0.25, 0], [0.25, 1]]}"]),
        ("b", "masks", [NEW], ["  - {id: b, url: b.mp4}"],
         ["  - {id: b, url: b.mp4, masks: [[[0, 0], [0.25, 0], [0.25, 1]]]}"]),
    ],
)  # fmt: skip
def test_a_changed_field_changes_its_lines_alone(
    camera: str, key: str, value: object, gone: list[str], come: list[str]
) -> None:
    edited = CamerasText(BEFORE)
    edited.update(camera, key, value)
    assert next(e for e in edited.entries if e["id"] == camera)[key] == value
    before, after = BEFORE.splitlines(), edited.text.splitlines()
    assert [line for line in before if line not in after] == gone
    assert [line for line in after if line not in before] == come


def test_an_unknown_camera_is_not_changed() -> None:
    with pytest.raises(EditError, match="has no camera 'c'"):
        CamerasText(BEFORE).update("c", "url", "x.mp4")
