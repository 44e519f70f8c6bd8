"""A `.pt` file of tensors on torch, in half precision on a GPU. Needs the extra `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.backends import Floats
from models.checkpoint import RawHead, read_checkpoint
from models.registry import ModelError

_SIZE_PX = 640
"""YOLOv8's default picture size, where the file has none."""


class TorchNetwork:
    """One network in evaluation mode."""

    def __init__(self, network: Any, size_px: int, classes: int, device: str) -> None:
        self._network = network
        self._device = device
        self.size_px = size_px
        self.classes = classes

    def infer(self, batch: Floats) -> tuple[Floats, Floats]:
        """See `Backend.infer`."""
        with torch.inference_mode():
            pictures = torch.from_numpy(batch).to(self._device)
            sides, classes = self._network(pictures.half() if self._device == "cuda" else pictures)
        return _floats(sides), _floats(classes)


def _floats(tensor: torch.Tensor) -> Floats:
    return np.asarray(tensor.float().cpu().numpy(), np.float32)


def open_network(path: Path, device: str, threads: int, int8: Path | None = None, lanes: int = 1) -> TorchNetwork:
    """See `open_backend`. A network may be run by any number of threads at once."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("torch sees no GPU here: use device auto or cpu")
    torch.set_num_threads(threads)
    read = read_checkpoint(path)
    network = RawHead(read.network).to(device)
    size_px, classes = read.size_px or _SIZE_PX, read.network.model[-1].nc
    return TorchNetwork(network.half() if device == "cuda" else network, size_px, classes, device)
