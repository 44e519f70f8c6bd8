"""ONNX weights on onnxruntime: the backend of the shipped detector, on a CPU or on CUDA."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from models.backends import COPY_KEY, Floats, read_whole
from models.facts import Facts, Shape, describe
from models.registry import ModelError, recorded

# Since 1.29 onnxruntime sends telemetry unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
CPUINFO = Path("/proc/cpuinfo")
_VNNI = {"avx512_vnni", "avx_vnni"}


class OnnxNetwork:
    """One session."""

    def __init__(self, session: onnxruntime.InferenceSession, facts: Facts) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = list(facts.outputs)
        self.facts = facts

    def infer(self, batch: Floats) -> Sequence[Floats]:
        """See `Backend.infer`."""
        outputs: Sequence[Floats] = self._session.run(self._outputs, {self._input: batch})
        return outputs


def has_vnni() -> bool:
    """Whether this CPU sums int8 products exactly; others saturate at 16 bits, which makes an int8 copy inaccurate."""
    try:
        return not _VNNI.isdisjoint(CPUINFO.read_text().split())
    except OSError:
        return False


def open_network(path: Path, device: str, threads: int, int8: Path | None = None, lanes: int = 1) -> OnnxNetwork:
    """See `open_backend`. A session may be run by any number of threads at once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without spinning, an idle replica uses no CPU.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Memory patterns would keep one block for each input shape, and are not faster.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    # Operators that the GPU lacks run on the CPU.
    wanted = [_CPU] if device == "cpu" else [_CUDA, _CPU]
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    copy = int8 if int8 is not None and int8.is_file() and providers == [_CPU] and has_vnni() else None
    content = read_whole(copy or path)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
        metadata = session.get_modelmeta().custom_metadata_map
        if copy and metadata.get(COPY_KEY) != recorded(path):
            raise ModelError(
                f"{copy} is not a copy of {path}: export it again with `python -m detect.training.export int8`"
            )
        if device == "cuda" and session.get_providers()[0] != _CUDA:
            raise ModelError(
                "this onnxruntime has no CUDA: install onnxruntime-gpu on a machine with a GPU, or use auto"
            )
        return OnnxNetwork(session, _describe(session, metadata, path))
    except ModelError:
        raise
    except Exception as error:  # onnxruntime's own exceptions have no common base class
        raise ModelError(f"{path} is not a usable network: {error}") from error


def _describe(session: onnxruntime.InferenceSession, metadata: dict[str, str], path: Path) -> Facts:
    first, *more = session.get_inputs()
    if more or first.type != "tensor(float)":
        inputs = ", ".join(f"{given.name} {given.type}" for given in (first, *more))
        raise ModelError(f"{path} takes {inputs}, expected one input of tensor(float): export it with that alone")
    outputs = {output.name: _shape(output.shape) for output in session.get_outputs()}
    return describe(path, _shape(first.shape), outputs, metadata)


def _shape(sides: Sequence[int | str | None]) -> Shape:
    """A shape of onnxruntime's, in which a side of any size has a name or is None."""
    return tuple(side if isinstance(side, int) else None for side in sides)
