"""Backends run a network on pictures and return its raw outputs. `open_backend` picks one by suffix and device.

Another runtime is one more module here, with an `open_network` as in `onnx.py`; its name is its device.
A backend is imported only when it is used, so a replica loads only one, and services need not install torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from models.facts import Facts
from models.registry import ModelError, read_verified

COPY_KEY = "copy_of"
"""Metadata key of the sha256 of the network that an int8 copy was made from."""

_ELSEWHERE = b"\x0a\x08location"
"""Key under which a tensor in an ONNX file names the external file that holds it."""

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Device = Literal["auto", "cpu", "cuda", "openvino"]

_MODULES: dict[tuple[str, Device], str] = {
    (".onnx", "auto"): "onnx",
    (".onnx", "cpu"): "onnx",
    (".onnx", "cuda"): "onnx",
    (".onnx", "openvino"): "openvino",
    (".pt", "auto"): "torch",
    (".pt", "cpu"): "torch",
    (".pt", "cuda"): "torch",
}


class Backend(Protocol):
    """A loaded network."""

    facts: Facts
    """What its file says of it."""

    def infer(self, batch: Floats) -> Sequence[Floats]:
        """Run the network.

        Args:
            batch: RGB planes in [0, 1], shape (n, 3, height, width), of a size that its head's `fit` gives.

        Returns:
            The outputs in the order of `facts.outputs`, which `models/head.py` decodes.
        """
        ...


def open_backend(
    path: Path, device: str = "auto", threads: int = 2, int8: Path | None = None, lanes: int = 1
) -> Backend:
    """Load weights.

    Args:
        path: `.onnx`, or a torch state dict as `.pt` (`detect.training.export state`).
        device: `auto` uses a GPU where the runtime was built for one; `openvino` is a CPU in its best fast precision,
            and needs the extra `openvino`; `.pt` needs the extra `train`; any other is the name of a module here.
        threads: threads of one inference on a CPU.
        int8: a quantized copy (`detect.training.export int8`), which onnxruntime runs instead if it exists and the CPU
            has VNNI.
        lanes: how many threads may call `infer` at once.

    Raises:
        ModelError: nothing here runs these weights on this device, or they cannot be loaded.
    """
    module = _MODULES.get((path.suffix, device))  # type: ignore[arg-type]
    if module is None and device not in get_args(Device) and device.isidentifier():
        module = device
    if module is None or find_spec(f"{__name__}.{module}") is None:
        raise ModelError(
            f"nothing runs {path} on device {device!r}: weights must be .onnx or .pt, the device one of "
            f"{', '.join(get_args(Device))} (openvino: .onnx only)"
        )
    try:
        opened = import_module(f"models.backends.{module}")
    except ImportError as error:
        raise ModelError(f"{path} on device {device!r} needs {error.name}, which is not installed: {error}") from None
    backend: Backend = opened.open_network(path, device, threads, int8, lanes)
    return backend


def read_whole(path: Path) -> bytes:
    """An ONNX file, if its digest is the recorded one and no tensor is in another file, whose digest is unknown.

    Raises:
        ModelError: the digest differs, or a tensor is in another file.
    """
    content = read_verified(path)
    if _ELSEWHERE in content:
        raise ModelError(f"{path} keeps tensors in another file, whose sha256 is unknown: save it as one file")
    return content
