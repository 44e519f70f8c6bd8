"""Makes the networks of this folder, with outputs and metadata as standard exports have them: python make.py.

Each finds squares: of the four quarters of a picture of 64x64, those that are red (class 0), green (1) or blue (2),
with their mean brightness in that colour as confidence. Needs the `onnx` package (the extra `train`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
SIDE, CELL = 64, 32
NAMES = "{0: 'smoke', 1: 'Handgun', 2: 'fire'}"
TOP, LEFT = [0, 0, 32, 32], [0, 32, 0, 32]
"""Of each quarter, in pixels."""


def main() -> None:
    """Write all of them."""
    yolo = {"description": "Ultralytics YOLOv8n model", "task": "detect", "names": NAMES}
    middles = np.array([[x + 16, y + 16, 32, 32] for x, y in zip(LEFT, TOP, strict=True)], np.float32)
    corners = np.array([[x, y, x + 32, y + 32] for x, y in zip(LEFT, TOP, strict=True)], np.float32)
    shares = middles / SIDE
    rows = [
        _node("ReduceMax", ["scores"], "best", axes=[2], keepdims=1),
        _node("ArgMax", ["scores"], "number", axis=2, keepdims=1),
        _node("Cast", ["number"], "class", to=TensorProto.FLOAT),
        _node("Concat", ["boxes", "best", "class"], "output0", axis=2),
    ]
    joined = [_node("Concat", ["boxes", "scores"], "output0", axis=2)]
    turned = [
        _node("Concat", ["boxes", "scores"], "all", axis=2),
        _node("Transpose", ["all"], "output0", perm=[0, 2, 1]),
    ]
    logits = [
        _node("Sub", ["one", "scores"], "rest"),
        _node("Div", ["scores", "rest"], "odds"),
        _node("Log", ["odds"], "logits"),
        _node("Identity", ["boxes"], "pred_boxes"),
    ]
    _save("yolo_raw", middles, turned, {"output0": (1, 7, 4)}, yolo | {"head": "Detect", "imgsz": "[64, 64]"})
    _save("yolo_end_to_end", corners, rows, {"output0": (1, 4, 6)}, yolo | {"head": "v10Detect", "end2end": "True"})
    detr = yolo | {"description": "Ultralytics rtdetr-l model"}
    _save("rtdetr_rows", shares, rows, {"output0": (1, 4, 6)}, detr | {"head": "RTDETRDecoder"})
    _save("rtdetr_scores", shares, joined, {"output0": (1, 4, 7)}, detr)
    _save("hugging_face", shares, logits, {"logits": (1, 4, 3), "pred_boxes": (1, 4, 4)}, {})
    _save("yolo_segment", middles, turned, {"output0": (1, 7, 4)}, yolo | {"task": "segment"})
    _save("unknown", shares, joined, {"output0": (1, 4, 7)}, {"names": "{0: 'fire'}"})


def _save(
    name: str, boxes: Any, nodes: Sequence[Any], outputs: dict[str, tuple[int, ...]], metadata: dict[str, str]
) -> None:
    scores = [
        _node("AveragePool", ["images"], "pooled", kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        _node("Reshape", ["pooled", "flat"], "planes"),
        _node("Transpose", ["planes"], "means", perm=[0, 2, 1]),
        _node("Clip", ["means", "low", "high"], "scores"),
    ]
    constants = {
        "flat": np.array([1, 3, 4], np.int64),
        "boxes": boxes[None],
        "one": np.float32(1),
        "low": np.float32(0.001),
        "high": np.float32(0.999),
    }
    graph = helper.make_graph(
        [*scores, *nodes],
        name,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / f"{name}.onnx")


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, [output], **attributes)


if __name__ == "__main__":
    main()
