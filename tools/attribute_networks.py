"""Converts Open Model Zoo's attribute networks for the captioner; NOTICE has their licence.

    python -m tools.attribute_networks FOLDER        # FOLDER holds their OpenVINO files, *.xml and *.bin

Each becomes an ONNX file with the same weights, which the captioner's OpenCV reads: a runtime of 180 MB for two
networks of 1.4 MB would be most of its image. The person network's outputs for sex and hair are removed from its
weights, so that the shipped file cannot predict them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
from onnx import helper, numpy_helper

WEIGHTS = Path(__file__).parents[1] / "notify/captions/weights"
_OPSET = 13
_NAMES = {"Add": "Add", "Multiply": "Mul", "Subtract": "Sub", "ReLU": "Relu", "Sigmoid": "Sigmoid"}


@dataclass(frozen=True, slots=True)
class Source:
    """One network: its file, and its outputs by name in the file, each as (new name, channels to keep)."""

    file: str
    outputs: dict[str, tuple[str, Sequence[int] | None]]


SOURCES = (
    Source(
        "person-attributes-recognition-crossroad-0230",
        # Three of eight channels: hat, long sleeves, long trousers. Not sex (0) and hair (6); not bags (1, 2) and coats
        # (7), which are often wrong or uncertain. The point on the lower clothes (459) often lies on the ground.
        {"453": ("worn", (3, 4, 5)), "456": ("upper_point", None)},
    ),
    Source("vehicle-attributes-recognition-barrier-0039", {"type": ("kind", None), "color": ("colour", None)}),
)


class Graph:
    """The layers of one OpenVINO file, in topological order."""

    def __init__(self, path: Path) -> None:
        # A file of the original release, whose checksum is in notify/captions/weights/README.md.
        root = ElementTree.parse(path).getroot()
        self._weights = path.with_suffix(".bin").read_bytes()
        self._layers = {layer.attrib["id"]: layer for layer in root.iterfind("layers/layer")}
        self._inputs: dict[str, dict[int, str]] = {}
        for edge in root.iterfind("edges/edge"):
            self._inputs.setdefault(edge.attrib["to-layer"], {})[int(edge.attrib["to-port"])] = edge.attrib[
                "from-layer"
            ]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def kind(self, layer: str) -> str:
        return self._layers[layer].attrib["type"]

    def name(self, layer: str) -> str:
        return self._layers[layer].attrib["name"]

    def data(self, layer: str, key: str) -> str:
        data = self._layers[layer].find("data")
        assert data is not None
        return data.attrib[key]

    def numbers(self, layer: str, key: str) -> list[int]:
        return [int(number) for number in self.data(layer, key).split(",") if number.strip()]

    def inputs(self, layer: str) -> list[str]:
        return [source for _, source in sorted(self._inputs.get(layer, {}).items())]

    def shape(self, layer: str) -> list[int]:
        return [int(dim.text or "0") for dim in self._layers[layer].iterfind("output/port/dim")]

    def before(self, ends: Sequence[str]) -> Iterator[str]:
        """These layers and all that they depend on."""
        seen: set[str] = set()
        waiting = list(ends)
        while waiting:
            layer = waiting.pop()
            if layer not in seen:
                seen.add(layer)
                waiting += self.inputs(layer)
                yield layer

    def constant(self, layer: str) -> np.ndarray:
        """The values of a constant, after the conversions that follow it."""
        if self.kind(layer) == "Convert":
            return self.constant(self.inputs(layer)[0]).astype(np.float32)
        dtype = {"f16": np.float16, "f32": np.float32, "i64": np.int64}[self.data(layer, "element_type")]
        start, size = int(self.data(layer, "offset")), int(self.data(layer, "size"))
        return np.frombuffer(self._weights[start : start + size], dtype).reshape(self.numbers(layer, "shape"))


def convert(source: Path, outputs: dict[str, tuple[str, Sequence[int] | None]]) -> onnx.ModelProto:
    """The same network as ONNX, with only the channels that `outputs` keeps.

    Raises:
        ValueError: it has an unsupported layer, or lacks one of the named outputs.
    """
    graph = Graph(source)
    names = {layer: f"t{layer}" for layer in graph}
    kept: dict[str, Sequence[int]] = {}
    ends, nodes, weights, shape = [], [], [], []
    for layer in graph:
        if graph.kind(layer) == "Result":
            # A result is named after the layer before it, which is named by its output.
            end = graph.inputs(layer)[0]
            if graph.name(end) not in outputs:
                continue
            name, channels = outputs[graph.name(end)]
            names[end] = name
            ends.append(end)
            if channels is not None:
                kept[_last_convolution(graph, end)] = channels
    if len(ends) != len(outputs):
        raise ValueError(f"{source.name} has {len(ends)} of the {len(outputs)} outputs that were named")
    needed = set(graph.before(ends))
    for layer in filter(needed.__contains__, graph):
        kind = graph.kind(layer)
        if kind == "Parameter":
            names[layer], shape = "image", graph.numbers(layer, "shape")
        elif kind in ("Const", "Convert", "Result"):
            continue
        else:
            inputs = graph.inputs(layer)
            if kind.startswith("Reduce"):
                inputs = inputs[:1]
            for given in inputs:
                if graph.kind(given) in ("Const", "Convert"):
                    values = graph.constant(given)
                    values = values[list(kept[layer])] if layer in kept else values
                    weights.append(numpy_helper.from_array(np.ascontiguousarray(values), names[given]))
            operator, attributes = _operator(graph, layer)
            nodes.append(helper.make_node(operator, [names[i] for i in inputs], [names[layer]], **attributes))
    given_image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
    ended = [
        helper.make_tensor_value_info(names[end], onnx.TensorProto.FLOAT, _shape(graph, end, kept)) for end in ends
    ]
    body = helper.make_graph(nodes, source.stem, [given_image], ended, weights)
    # Without the producer's version, so that the same source gives the same bytes.
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model)


def _shape(graph: Graph, end: str, kept: dict[str, Sequence[int]]) -> list[int]:
    batch, channels, *rest = graph.shape(end)
    return [batch, len(kept.get(_last_convolution(graph, end), range(channels))), *rest]


def _last_convolution(graph: Graph, layer: str) -> str:
    while graph.kind(layer) != "Convolution":
        layer = graph.inputs(layer)[0]
    return layer


def _operator(graph: Graph, layer: str) -> tuple[str, dict[str, object]]:
    kind = graph.kind(layer)
    if kind in _NAMES:
        return _NAMES[kind], {}
    if kind in ("Convolution", "MaxPool"):
        pads = graph.numbers(layer, "pads_begin") + graph.numbers(layer, "pads_end")
        sliding: dict[str, object] = {"strides": graph.numbers(layer, "strides"), "pads": pads}
        if kind == "Convolution":
            return "Conv", sliding | {"dilations": graph.numbers(layer, "dilations")}
        rounds_up = int(graph.data(layer, "rounding_type") == "ceil")
        return kind, sliding | {"kernel_shape": graph.numbers(layer, "kernel"), "ceil_mode": rounds_up}
    if kind in ("ReduceMax", "ReduceMean"):
        axes = [int(axis) for axis in graph.constant(graph.inputs(layer)[1]).ravel()]
        return kind, {"axes": axes, "keepdims": 1}
    if kind in ("Concat", "SoftMax"):
        return {"SoftMax": "Softmax"}.get(kind, kind), {"axis": int(graph.data(layer, "axis"))}
    raise ValueError(f"layer {graph.name(layer)} is of kind {kind}, which is not supported: add it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for source in SOURCES:
        made = convert(folder / f"{source.file}.xml", source.outputs).SerializeToString()
        path = WEIGHTS / f"{source.file}.onnx"
        path.write_bytes(made)
        print(f"{hashlib.sha256(made).hexdigest()}  {path.name}")


if __name__ == "__main__":
    main()
