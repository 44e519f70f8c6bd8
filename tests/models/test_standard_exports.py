"""Standard exports of other networks run as they are, and find our hazards by the names of their classes.

The networks of `tests/models/networks/` find coloured squares: green is class `Handgun`, blue `fire`, red `smoke`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from functions.hazards import HAZARDS, KINDS, hazard_named
from models.letterbox import Image, fit_into
from models.network import HAZARD, Network, hazard_spec
from models.registry import ModelError, record
from sessions.kinds.object import Detector

NETWORKS = Path(__file__).parent / "networks"
KINDS_OF_OUTPUT = ["yolo_raw", "yolo_end_to_end", "rtdetr_rows", "rtdetr_scores", "hugging_face"]
RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)
CONFIG = {"id2label": {"0": "smoke", "1": "Handgun", "2": "fire"}}
PICTURES = {"do_normalize": False, "size": {"height": 64, "width": 64}}


def installed(folder: Path, name: str, *, config: object = CONFIG, pictures: object = PICTURES) -> Path:
    """A recorded copy of a network, with the files that Hugging Face's exports have beside them."""
    path = folder / f"{name}.onnx"
    shutil.copy(NETWORKS / path.name, path)
    files = [path]
    if name == "hugging_face":
        files += [folder / "config.json", folder / "preprocessor_config.json"]
        for file, content in zip(files[1:], (config, pictures), strict=True):
            file.write_text(json.dumps(content))
    for file in files:
        record(file)
    return path


def opened(path: Path, device: str = "cpu", min_confidence: float = 0.5) -> Network:
    return Network(replace(HAZARD, path=path, int8=None, min_confidence=min_confidence), 1, device)


def picture(*quarters: tuple[int, int, int] | None, width: int = 128, height: int = 128) -> Image:
    """Quarters painted in BGR: top left, top right, bottom left, bottom right; grey where None."""
    image = np.full((height, width, 3), 90, np.uint8)
    for n, colour in enumerate(quarters):
        if colour is not None:
            y, x = n // 2 * height // 2, n % 2 * width // 2
            image[y : y + height // 2, x : x + width // 2] = colour
    return image


@pytest.mark.parametrize("device", ["cpu", "openvino"])
@pytest.mark.parametrize("name", KINDS_OF_OUTPUT)
def test_hazards_are_found_by_the_names_of_classes(tmp_path: Path, name: str, device: str) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    network = opened(installed(tmp_path, name), device)
    assert set(network.labels) == {"gun", "fire"}
    assert network.size_px == 64
    first, second, none = network.detect([picture(RED, None, None, GREEN), picture(None, BLUE), picture()])
    assert [(d.label, d.box.x1, d.box.y1, d.box.x2, d.box.y2) for d in first] == [("gun", 0.5, 0.5, 1, 1)]
    assert [(d.label, d.box.x1, d.box.y1, d.box.x2, d.box.y2) for d in second] == [("fire", 0.5, 0, 1, 0.5)]
    assert first[0].confidence == pytest.approx(0.999, abs=0.01)
    assert none == []


@pytest.mark.parametrize("name", KINDS_OF_OUTPUT)
def test_a_wide_picture_is_placed_as_in_training(tmp_path: Path, name: str) -> None:
    """YOLO is trained on pictures with a margin, DETR on pictures that are stretched."""
    (found,) = opened(installed(tmp_path, name)).detect([picture(GREEN, None, GREEN, None, width=256)])
    assert sorted((d.box.x1, d.box.y1, d.box.x2, d.box.y2) for d in found) == [(0, 0, 0.5, 0.5), (0, 0.5, 0.5, 1)]
    has_margin = name.startswith("yolo")
    assert [d.confidence for d in found] == pytest.approx([0.724 if has_margin else 0.999] * 2, abs=0.01)


def test_a_tall_picture_keeps_its_shape_in_a_fixed_input() -> None:
    place = fit_into((1000, 10), (64, 96))
    assert (place.left, place.top, place.width, place.height) == (47, 0, 1, 64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolo_segment", "made for the task 'segment'"),
        ("unknown", r"has the outputs output0 \(1, 4, 7\) and 1 named classes, expected \(1, 4 \+ classes, N\)"),
    ],
)
def test_other_networks_are_refused_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        opened(installed(tmp_path, name))
    assert "\n" not in str(refused.value)


def test_a_network_without_our_hazards_is_refused(tmp_path: Path) -> None:
    path = installed(tmp_path, "hugging_face", config={"id2label": {"0": "cat", "1": "dog", "2": "cow"}})
    with pytest.raises(ModelError, match=r"finds none of accident, .*: its classes are cat, dog, cow"):
        opened(path)


def test_a_changed_name_of_a_class_is_refused(tmp_path: Path) -> None:
    path = installed(tmp_path, "hugging_face")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "fire", "1": "gun", "2": "knife"}}))
    with pytest.raises(ModelError, match=r"config\.json differs from its sha256"):
        opened(path)


@pytest.mark.parametrize(
    ("config", "pictures", "message"),
    [
        (CONFIG, {**PICTURES, "do_normalize": True}, "wants pictures that are normalised"),
        ({**CONFIG, "use_focal_loss": False}, PICTURES, "not sigmoids"),
        (CONFIG, {"size": {"shortest_edge": 800}}, "needs id2label"),
        ({}, PICTURES, "needs id2label"),
        ([], PICTURES, "must hold a JSON object"),
        ({"id2label": {"0": "fire", "2": "gun"}}, PICTURES, "must number the classes from 0"),
        ({"id2label": {"0": "fire"}}, PICTURES, "names 1 classes in its metadata but has 3"),
    ],
)
def test_unusable_files_of_hugging_face_are_refused(
    tmp_path: Path, config: object, pictures: object, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        opened(installed(tmp_path, "hugging_face", config=config, pictures=pictures))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"{0: 'smoke', 1: 'Handgun', 2: 'fire'}", b"{0: 'smoke', 1: 'Handgun', 2: 'fire'(", "names .* cannot be read"),
        (b"{0: 'smoke', 1: 'Handgun', 2: 'fire'}", b"__import__('os').abort() or {0:'fi'}}", "names .* cannot be read"),
    ],
)
def test_metadata_that_is_no_value_is_refused(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = installed(tmp_path, "yolo_raw")
    path.write_bytes(path.read_bytes().replace(old, new))
    record(path)
    with pytest.raises(ModelError, match=message):
        opened(path)


def test_a_class_is_known_by_any_of_its_names() -> None:
    assert [hazard_named(name) for name in ("Fire", " hand-gun", "HANDGUN", "car_accident", "Knife", "person")] == [
        "fire", None, "gun", "accident", "knife", None,
    ]  # fmt: skip
    names = [name for hazard in HAZARDS for name in (hazard, *KINDS[hazard].other_names)]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


def test_a_session_runs_a_standard_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setenv("BONGSU_DETECT_WEIGHTS", str(installed(tmp_path, "yolo_end_to_end")))
    jpeg = cv2.imencode(".jpg", picture(None, None, BLUE))[1].tobytes()
    assert [(box["label"], box["x1"], box["y2"]) for box in Detector("hazard").run(jpeg)["boxes"]] == [("fire", 0, 1)]
    assert hazard_spec().path.name == "yolo_end_to_end.onnx"
