"""What the file of a network says about it: its inputs, outputs, classes and size. Backends read it, heads need it.

Ultralytics writes classes and size into the metadata of an ONNX file; Hugging Face's exports have them in `config.json`
and `preprocessor_config.json` beside it; our own files have the size, and since names are written, those too.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.registry import ModelError, read_verified

SIZE_KEY = "size_px"
"""Metadata key of the picture size in training, as the shapes in our ONNX files are dynamic."""
NAMES_KEY = "names"
"""Metadata key of the classes' names by number, as ultralytics writes it: a Python dict."""
GRID = ("sides", "classes")
"""Outputs of our own exports, and of the backend on torch."""
HUGGING_FACE = ("logits", "pred_boxes")
"""Outputs of Hugging Face's DETR networks."""

Shape = tuple[int | None, ...]
"""Sizes of a tensor; None: any."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One network's file.

    Attributes:
        path: the file.
        outputs: shape of each output by its name, in the file's order.
        metadata: the file's own.
        names: of the classes by their number; empty if the file does not say.
        size: height and width in pixels of the pictures that the network was made for.
        is_fixed: whether it takes pictures of that size only.
        is_single: whether it takes one picture at a time only.
    """

    path: Path
    outputs: Mapping[str, Shape]
    metadata: Mapping[str, str]
    names: Mapping[int, str]
    size: tuple[int, int]
    is_fixed: bool
    is_single: bool

    @property
    def size_px(self) -> int:
        """The longer side of the pictures that it was made for."""
        return max(self.size)


def describe(path: Path, given: Shape, outputs: Mapping[str, Shape], metadata: Mapping[str, str]) -> Facts:
    """The facts of a file.

    Args:
        path: the file.
        given: shape of its input.
        outputs: shape of each output by its name.
        metadata: its metadata.

    Raises:
        ModelError: the network takes no pictures in RGB planes, or the file lacks their size or has unusable metadata.
    """
    if len(given) != 4 or given[1] not in (3, None) or given[0] not in (1, None):
        raise ModelError(
            f"{path} takes an input of shape {say(given)}, expected (1, 3, height, width) or with a dynamic batch: "
            "export it with one input of RGB pictures"
        )
    if metadata.get("task", "detect") != "detect":
        raise ModelError(f"{path} is made for the task {metadata['task']!r}: use a network of the task 'detect'")
    if HUGGING_FACE[0] in outputs and NAMES_KEY not in metadata:
        metadata = {**metadata, **_beside(path)}
    graph = (given[2], given[3])
    size = (graph[0], graph[1]) if graph[0] and graph[1] else _size(metadata, path)
    return Facts(path, outputs, metadata, _names(metadata, path), size, None not in graph, given[0] == 1)


def size_in(metadata: Mapping[str, str], path: Path) -> int:
    """The longer side in pixels that one of our own ONNX files was exported for.

    Raises:
        ModelError: the file's metadata lacks it.
    """
    return max(_size({SIZE_KEY: metadata.get(SIZE_KEY, "")}, path))


def say(shape: Shape) -> str:
    """A shape as in a message: `(1, 84, any)`."""
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"


def _size(metadata: Mapping[str, str], path: Path) -> tuple[int, int]:
    """Height and width of the pictures, from the metadata alone."""
    if metadata.get(SIZE_KEY, "").isdecimal():
        return int(metadata[SIZE_KEY]), int(metadata[SIZE_KEY])
    size = _literal(metadata, "imgsz", path)
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
        raise ModelError(
            f"{path} does not say the size of its pictures: its metadata needs imgsz (ultralytics) or {SIZE_KEY} "
            "(`python -m detect.training.export`)"
        )
    return sides[0], sides[1]


def _names(metadata: Mapping[str, str], path: Path) -> dict[int, str]:
    names = _literal(metadata, NAMES_KEY, path) or {}
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(len(names))):
        raise ModelError(f"{path}: names in its metadata must number the classes from 0, got {str(names)[:120]}")
    return {int(number): str(names[number]) for number in sorted(names)}


def _literal(metadata: Mapping[str, str], key: str, path: Path) -> Any:
    """A value that was written as Python writes it; None if there is none."""
    try:
        return ast.literal_eval(metadata[key]) if metadata.get(key) else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ModelError(f"{path}: {key} in its metadata cannot be read: {metadata[key][:120]!r}") from None


def _beside(path: Path) -> dict[str, str]:
    """Names and size of a network of Hugging Face's, in our keys, from the two files that its exports have beside it.

    Raises:
        ModelError: a file is missing, not recorded or lacks a value, or the network wants pictures made differently.
    """
    config, pictures = (_read(path.with_name(name)) for name in ("config.json", "preprocessor_config.json"))
    if pictures.get("do_normalize") or pictures.get("do_pad") or not config.get("use_focal_loss", True):
        raise ModelError(
            f"{path} wants pictures that are normalised or padded, or its scores are not sigmoids: of Hugging "
            "Face's networks those of RT-DETR and D-FINE can be used"
        )
    try:
        names = {int(number): str(name) for number, name in config["id2label"].items()}
        size = [int(pictures["size"]["height"]), int(pictures["size"]["width"])]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ModelError(
            f"{path} needs id2label in the config.json beside it, and size (height, width) in preprocessor_config.json"
        ) from None
    return {NAMES_KEY: repr(names), "imgsz": repr(size)}


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(read_verified(path))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(read, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return read
