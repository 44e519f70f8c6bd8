"""What runs a network: pictures in, what its head says out. `open_backend` picks one by suffix and device.

No backend is imported before it is needed, so a replica pays for one only, and a service without torch needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from models.registry import ModelError, read_verified

SIZE_KEY = "size_px"
"""Under which an ONNX file says how large pictures were in training, for its own shapes are free."""
COPY_KEY = "copy_of"
"""Under which an int8 copy names the sha256 of what it was made of."""

_ELSEWHERE = b"\x0a\x08location"
"""In an ONNX file, the key under which a tensor names the file that holds it."""

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

    size_px: int
    """The longer side of a picture as it was trained on, a multiple of 32."""
    classes: int
    """How many it tells."""

    def infer(self, batch: Floats) -> tuple[Floats, Floats]:
        """Run it.

        Args:
            batch: RGB planes in [0, 1], shape (n, 3, height, width); the sides are multiples of 32.

        Returns:
            What the head says before anything is made of it (`models/head.py`): the sides of the boxes, shape (n, 64,
            places), and how likely each class is, as a logit, shape (n, classes, places).
        """
        ...


def open_backend(
    path: Path, device: str = "auto", threads: int = 2, int8: Path | None = None, lanes: int = 1
) -> Backend:
    """Load weights.

    Args:
        path: `.onnx`, or a state dict of torch's as `.pt` (`detect.training.export state`).
        device: `auto` takes a GPU where the runtime was built for one; `openvino` is a CPU in the best precision that
            it computes fast in, and needs the extra `openvino`; `.pt` needs the extra `train`.
        threads: of one inference on a CPU.
        int8: a copy of them (`detect.training.export int8`), which onnxruntime runs in their place if it is there and
            the CPU has VNNI.
        lanes: how many threads may call `infer` at once.

    Raises:
        ModelError: nothing here runs these weights on this device, or they cannot be loaded.
    """
    module = _MODULES.get((path.suffix, device))  # type: ignore[arg-type]
    if module is None:
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
    """An ONNX file, if it is what is recorded and nothing of the network lies in another file, which nobody checks.

    Raises:
        ModelError: it is not, or something does.
    """
    content = read_verified(path)
    if _ELSEWHERE in content:
        raise ModelError(f"{path} keeps tensors in another file, of which no sha256 is known: save it as one")
    return content


def size_in(metadata: Mapping[str, str], path: Path) -> int:
    """The longer side that an ONNX file was made for.

    Raises:
        ModelError: it does not say so.
    """
    if not metadata.get(SIZE_KEY, "").isdecimal():
        raise ModelError(f"{path} is no network of this version: make it again with `python -m detect.training.export`")
    return int(metadata[SIZE_KEY])
