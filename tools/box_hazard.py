"""Fits the shipped model of the kind `scalar`: the most likely hazard of a box, by its position and size alone.

    python -m tools.box_hazard DATA     DATA: a folder like hazard4, with train/labels and test/labels in YOLO's form

Softmax regression on the standardised inputs and their products; prints its score on the test split, whose scenes are
not in the training split, and the score of always predicting the commonest class.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from functions import HAZARDS
from models.registry import record

_INPUTS = ("x_center", "y_center", "width", "height")
_STEPS, _RATE, _DECAY = 4000, 0.5, 1e-4
OUT = Path(__file__).parents[1] / "sessions/weights/box_hazard.json"


def main() -> None:
    data = Path(sys.argv[1])
    rows, classes = _read(data / "train/labels")
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    weights, bias = _fit(_expand((rows - mean) / scale), classes)
    test_rows, test_classes = _read(data / "test/labels")
    predicted = (_expand((test_rows - mean) / scale) @ weights + bias).argmax(axis=1)
    accuracy = float((predicted == test_classes).mean())
    commonest = float((test_classes == np.bincount(classes).argmax()).mean())
    model = {
        "inputs": _INPUTS, "task": "classification", "labels": HAZARDS, "degree": 2,
        "mean": mean.round(6).tolist(), "scale": scale.round(6).tolist(),
        "weights": weights.T.round(5).tolist(), "bias": bias.round(5).tolist(),
        "trained_on": f"{len(rows)} boxes of hazard4's training split",
        "test_accuracy": round(accuracy, 3), "test_accuracy_of_commonest": round(commonest, 3),
    }  # fmt: skip
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(model, indent=1) + "\n")
    record(OUT)
    print(f"accuracy on {len(test_rows)} boxes of the test split: {accuracy:.3f} (commonest class: {commonest:.3f})")


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as x_center, y_center, width, height in fractions of the picture, shape (n, 4), and their classes, (n,)."""
    lines = [line.split() for path in sorted(folder.glob("*.txt")) for line in path.read_text().splitlines()]
    table = np.array([[float(value) for value in line[:5]] for line in lines if len(line) >= 5])
    return table[:, 1:], table[:, 0].astype(int)


def _expand(x: np.ndarray) -> np.ndarray:
    """Each row, followed by the products of its pairs, in the order of `sessions/kinds/scalar.py`."""
    pairs = [x[:, i] * x[:, j] for i in range(x.shape[1]) for j in range(i, x.shape[1])]
    return np.column_stack([x, *pairs])


def _fit(x: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient descent; every class has the same weight, however many boxes it has."""
    wanted = np.eye(len(HAZARDS))[classes]
    weight = (1 / np.bincount(classes, minlength=len(HAZARDS)))[classes][:, None] / len(HAZARDS)
    weights, bias = np.zeros((x.shape[1], len(HAZARDS))), np.zeros(len(HAZARDS))
    for _ in range(_STEPS):
        logits = x @ weights + bias
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (likely / likely.sum(axis=1, keepdims=True) - wanted) * weight
        weights -= _RATE * (x.T @ error + _DECAY * weights)
        bias -= _RATE * error.sum(axis=0)
    return weights, bias


if __name__ == "__main__":
    main()
