"""Kinds and models, and the models themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.network import HAZARD, SCENE
from models.registry import ModelError, record
from sessions.catalogue import KINDS, UnknownModelError, file_of, resolve
from sessions.kinds import InputError
from sessions.kinds.image import describe
from sessions.kinds.scalar import LinearModel


def test_the_networks_are_those_that_the_detector_ships() -> None:
    assert KINDS["object"].models == {"hazard": HAZARD.path, "scene": SCENE.path}
    assert KINDS["image"].models == {"hazard": HAZARD.path}


def test_a_model_has_a_default_and_a_version() -> None:
    name = resolve("object")
    assert name.startswith("hazard:")
    assert resolve("object", name) == name
    assert file_of("object", name) == HAZARD.path


@pytest.mark.parametrize(
    ("kind", "model", "message"),
    [
        ("video", "", "kind must be one of scalar, image, object, got 'video'"),
        ("object", "gpt", "must be one of hazard, scene, got 'gpt'"),
        ("object", "hazard:1", "is here in version"),
    ],
)
def test_an_unknown_model_is_refused_with_those_that_there_are(kind: str, model: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message):
        resolve(kind, model)


def _model(folder: Path, **changes: object) -> LinearModel:
    facts = {
        "inputs": ["a", "b"], "task": "regression", "degree": 2, "mean": [1, 0], "scale": [2, 1],
        "weights": [[1, 10, 100, 1000, 10000]], "bias": [0.5],
    }  # fmt: skip
    path = folder / "model.json"
    path.write_text(json.dumps(facts | changes))
    record(path)
    return LinearModel.open(path)


def test_a_regression_adds_up_inputs_and_products(tmp_path: Path) -> None:
    model = _model(tmp_path)
    # a' = 2, b' = 3: 2 + 30 + 100 * 4 + 1000 * 6 + 10000 * 9 + 0.5
    assert model.run([5, 3]) == {"value": 96432.5}
    assert model.run({"b": 3, "a": 5, "c": "ignored"}) == {"value": 96432.5}


@pytest.mark.parametrize("row", [[1], [1, "2"], [1, True], [1, float("nan")], "12", {"a": 1}, None, [1e308, 1e308]])
def test_a_bad_row_is_refused(tmp_path: Path, row: object) -> None:
    with pytest.raises(InputError) as refused:
        _model(tmp_path).run(row)
    assert refused.value.remedy


def test_a_model_with_missing_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2 inputs need 5 weights"):
        _model(tmp_path, weights=[[1, 2]])


@pytest.mark.parametrize(
    ("hazard", "objects", "sentence"),
    [
        ("", {}, "Nothing that the networks know."),
        ("fire", {}, "Fire."),
        ("fire", {"person": 2, "car": 1}, "Fire, with 2 people and a car."),
        ("", {"bus": 2}, "2 buses."),
        ("", {"car": 3, "person": 1, "truck": 2}, "3 cars, a person and 2 trucks."),
    ],
)
def test_a_picture_is_described_in_a_sentence(hazard: str, objects: dict[str, int], sentence: str) -> None:
    assert describe(hazard, objects) == sentence
