"""ONNX weights on OpenVINO: a CPU, in bfloat16 where it computes fast in that. Needs the extra `openvino`."""

from __future__ import annotations

from pathlib import Path

import openvino

from detect.backends import Floats
from detect.registry import ModelError, read_verified


class OpenVinoNetwork:
    """One compiled network and the request that runs it."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self.size_px = compiled.input(0).partial_shape[2].get_length()

    def infer(self, batch: Floats) -> Floats:
        """See `Backend.infer`."""
        output: Floats = self._request.infer([batch], share_inputs=True)[0]
        return output


def open_network(path: Path, device: str, threads: int) -> OpenVinoNetwork:
    """See `open_backend`."""
    content = read_verified(path)
    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    try:
        return OpenVinoNetwork(core.compile_model(core.read_model(content), "CPU", options))
    except Exception as error:  # OpenVINO raises RuntimeError and others, without a common base
        raise ModelError(f"{path} is no usable network: {error}") from error
