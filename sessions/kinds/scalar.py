"""The kind `scalar`: for a row of numbers, a class or a number, from a linear model on products of the inputs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from models.registry import ModelError, read_verified
from sessions.kinds import InputError


class LinearModel(Struct, frozen=True):
    """A linear or logistic model in JSON, such as `tools/box_hazard.py` writes.

    Attributes:
        inputs: names of the numbers in a row, in order.
        labels: of a classification, in the order of `weights`.
        degree: 2 if the inputs are followed by the products of all pairs of standardised inputs.
        mean: of each input in training; with `scale` it standardises them.
        weights: a list for each output, in the order of the inputs and their products.
    """

    inputs: tuple[str, ...]
    task: Literal["classification", "regression"]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    labels: tuple[str, ...] = ()
    degree: Literal[1, 2] = 1

    takes = "row"

    @classmethod
    def open(cls, path: Path) -> LinearModel:
        """Read a model.

        Raises:
            ModelError: it is not the recorded file, or not such a model.
        """
        try:
            model = msgspec.json.decode(read_verified(path), type=cls)
        except msgspec.DecodeError as error:
            raise ModelError(f"{path} is not a linear model: {error}") from None
        n = len(model.inputs)
        terms = n + (n * (n + 1) // 2 if model.degree == 2 else 0)
        outputs = len(model.labels) if model.task == "classification" else 1
        if not (len(model.mean) == len(model.scale) == n and len(model.weights) == len(model.bias) == outputs) or any(
            len(weights) != terms for weights in model.weights
        ):
            raise ModelError(f"{path}: {n} inputs need {terms} weights for each of {outputs} outputs: fit it again")
        return model

    def run(self, given: Any) -> dict[str, Any]:
        """See `Runner.run`."""
        x = [(value - mean) / scale for value, mean, scale in zip(self._row(given), self.mean, self.scale, strict=True)]
        if self.degree == 2:
            x += [x[i] * x[j] for i in range(len(x)) for j in range(i, len(x))]
        outputs = [sum(map(float.__mul__, w, x), b) for w, b in zip(self.weights, self.bias, strict=True)]
        if not all(map(math.isfinite, outputs)):
            raise InputError(
                "the numbers are so large that the result is not finite", "send numbers in the model's range"
            )
        if self.task == "regression":
            return {"value": outputs[0]}
        most = max(outputs)
        likely = [math.exp(output - most) for output in outputs]
        shares = {label: share / sum(likely) for label, share in zip(self.labels, likely, strict=True)}
        best = max(shares, key=shares.__getitem__)
        return {"label": best, "confidence": shares[best], "scores": shares}

    def _row(self, given: Any) -> list[float]:
        example = f"send {len(self.inputs)} numbers: {', '.join(self.inputs)}"
        if isinstance(given, dict):
            missing = [name for name in self.inputs if name not in given]
            if missing:
                raise InputError(f"the row lacks {missing[0]!r}", example)
            given = [given[name] for name in self.inputs]
        if not isinstance(given, list | tuple) or len(given) != len(self.inputs):
            raise InputError(f"the row is not a list of {len(self.inputs)} numbers", example)
        for name, value in zip(self.inputs, given, strict=True):
            # bool is an int to Python.
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"{name} must be a finite number, got {str(value)[:40]!r}", example)
        return [float(value) for value in given]
