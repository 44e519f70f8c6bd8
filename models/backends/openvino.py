"""ONNX weights on OpenVINO, on a CPU, in bfloat16 where that is fast. Needs the extra `openvino`."""

from __future__ import annotations

import threading
from pathlib import Path

import openvino

from models.backends import SIZE_KEY, Floats, read_whole, size_in
from models.registry import ModelError

_SIZE = ["framework", SIZE_KEY]
"""Path of an ONNX file's metadata in OpenVINO's runtime info."""


class OpenVinoNetwork:
    """One compiled network, with an inference request for each calling thread."""

    def __init__(self, compiled: openvino.CompiledModel, size_px: int) -> None:
        self._compiled = compiled
        self._own = threading.local()
        self.size_px = size_px
        self.classes = int(compiled.output("classes").get_partial_shape()[1].get_length())

    def infer(self, batch: Floats) -> tuple[Floats, Floats]:
        """See `Backend.infer`."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        answer = request.infer([batch], share_inputs=True)
        return answer["sides"], answer["classes"]


def open_network(path: Path, device: str, threads: int, int8: Path | None = None, lanes: int = 1) -> OpenVinoNetwork:
    """See `open_backend`."""
    content = read_whole(path)
    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads * lanes, "NUM_STREAMS": lanes, "ENABLE_CPU_PINNING": False}
    try:
        model = core.read_model(content)
        metadata = {SIZE_KEY: model.get_rt_info(_SIZE).value} if model.has_rt_info(_SIZE) else {}
        return OpenVinoNetwork(core.compile_model(model, "CPU", options), size_in(metadata, path))
    except ModelError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError and others, without a common base class
        raise ModelError(f"{path} is not a usable network: {error}") from error
