"""ONNX weights on OpenVINO, on a CPU, in bfloat16 where that is fast. Needs the extra `openvino`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openvino

from models.backends import Floats, read_whole
from models.facts import GRID, HUGGING_FACE, Facts, Shape, describe
from models.registry import ModelError

_METADATA = "framework"
"""Where OpenVINO's runtime info has an ONNX file's metadata."""


class OpenVinoNetwork:
    """One compiled network, with an inference request for each calling thread."""

    def __init__(self, compiled: openvino.CompiledModel, facts: Facts) -> None:
        self._compiled = compiled
        self._own = threading.local()
        self._outputs = list(facts.outputs)
        self.facts = facts

    def infer(self, batch: Floats) -> Sequence[Floats]:
        """See `Backend.infer`."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        answer = request.infer([batch], share_inputs=True)
        return [answer[name] for name in self._outputs]


def open_network(path: Path, device: str, threads: int, int8: Path | None = None, lanes: int = 1) -> OpenVinoNetwork:
    """See `open_backend`."""
    content = read_whole(path)
    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads * lanes, "NUM_STREAMS": lanes, "ENABLE_CPU_PINNING": False}
    try:
        model = core.read_model(content)
        return OpenVinoNetwork(core.compile_model(model, "CPU", options), _describe(model, path))
    except ModelError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError and others, without a common base class
        raise ModelError(f"{path} is not a usable network: {error}") from error


def _describe(model: openvino.Model, path: Path) -> Facts:
    if len(model.inputs) != 1:
        raise ModelError(f"{path} takes {len(model.inputs)} inputs, expected one: export it with the pictures alone")
    raw = model.get_rt_info(_METADATA).value if model.has_rt_info(_METADATA) else {}
    outputs = {_name(output): _shape(output) for output in model.outputs}
    metadata = {str(key): str(getattr(value, "value", value)) for key, value in raw.items()}
    return describe(path, _shape(model.inputs[0]), outputs, metadata)


def _name(output: Any) -> str:
    """The name of an output in the file, which it may share with a tensor inside the network."""
    names: set[str] = output.get_names()
    return next((name for name in (*GRID, *HUGGING_FACE) if name in names), output.get_any_name())


def _shape(port: Any) -> Shape:
    return tuple(side.get_length() if side.is_static else None for side in port.get_partial_shape())
