"""A `.pt` file of tensors on torch, in half precision on a GPU. Needs the extra `train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.backends import Floats
from models.checkpoint import RawHead, names_of, read_checkpoint
from models.facts import NAMES_KEY, SIZE_KEY, Facts, describe
from models.registry import ModelError

_SIZE_PX = 640
"""YOLOv8's default picture size, where the file has none."""


class TorchNetwork:
    """One network in evaluation mode."""

    def __init__(self, network: Any, facts: Facts, device: str) -> None:
        self._network = network
        self._device = device
        self.facts = facts

    def infer(self, batch: Floats) -> Sequence[Floats]:
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
    metadata = {SIZE_KEY: str(read.size_px or _SIZE_PX), NAMES_KEY: repr(names_of(read.network))}
    outputs = {"sides": (None, 64, None), "classes": (None, int(read.network.model[-1].nc), None)}
    facts = describe(path, (None, 3, None, None), outputs, metadata)
    return TorchNetwork(network.half() if device == "cuda" else network, facts, device)
