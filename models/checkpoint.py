"""Reads `.pt` files into torch networks, for training, export and the torch backend. Needs the `train` extra.

Three kinds hold tensors and plain values only, and are read with `weights_only`, which cannot run code: our own
(`write_state`), the state of an unfinished run (its moving average), and a bare state dict of YOLOv8 on COCO. The
fourth, an ultralytics checkpoint, is a pickle and may run code; it is opened only on request. All are read only if
their sha256 is recorded.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import torch_setup

torch_setup.prepare()

import torch
from ultralytics.nn.tasks import DetectionModel

from functions import HAZARDS
from models.registry import ModelError, read_verified

_SIZES = {16: "n", 32: "s", 48: "m", 64: "l", 80: "x"}
"""YOLOv8's size by the number of channels of its first convolution."""
_COCO_CLASSES = 80


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A torch network and, where the file has it, the longer side in pixels of its training pictures (else 0)."""

    network: Any
    size_px: int


class RawHead(torch.nn.Module):  # type: ignore[misc]  # Any where torch is not installed
    """A network with the outputs of `Backend.infer`, before they are decoded to boxes."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self._network = network.fuse(verbose=False).eval()
        # Ultralytics' head would decode boxes with anchors that it caches for the last picture size: threads that
        # run pictures of several sizes would use each other's anchors.
        self._network.model[-1]._inference = _no_boxes

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Box sides and class scores of pictures of shape (n, 3, height, width)."""
        outputs = self._network(pictures)[1]
        return outputs["boxes"], outputs["scores"]


def _no_boxes(outputs: dict[str, Any]) -> None:
    """Replaces the head's decoding step: does nothing."""


def read_checkpoint(path: Path, *, pickles: bool = False) -> Checkpoint:
    """Build the network in a file.

    Args:
        path: the `.pt` file.
        pickles: also open ultralytics checkpoints.

    Raises:
        ModelError: its digest is not recorded or differs, or it is not of one of the kinds above.
    """
    content = read_verified(path)
    try:
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not pickles:
            raise ModelError(
                f"{path} holds more than tensors: convert it to a safe file with `detect.training.export state`"
            ) from None
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
        # The size of the training run; a checkpoint trained elsewhere may not have it.
        size_px = int(stored.get("train_args", {}).get("imgsz") or 0)
        return Checkpoint((stored.get("ema") or stored["model"]).float(), size_px)
    except Exception as error:  # torch raises many kinds of errors for a broken file
        raise ModelError(f"{path} is not a valid PyTorch checkpoint: {error}") from error
    try:
        if "average" in stored:
            average = stored["average"]
            return Checkpoint(_built(average, int(average["model.22.cv3.0.2.weight"].shape[0])), 0)
        if "state" in stored:
            network = _built(stored["state"], int(stored["classes"]))
            network.names = dict(stored.get("names") or network.names)
            return Checkpoint(network, int(stored["size_px"]))
        return Checkpoint(_built(stored, _COCO_CLASSES), 0)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not a YOLOv8 network: {error}") from error


def blend(start: Any, runs: Sequence[Any], share: float) -> Any:
    """Interpolate every tensor from the start towards the mean of its fine-tunes: share 0 is the start, 1 the mean.

    Between a network and its fine-tune lie networks that do better than either on pictures of other origin; the mean of
    several fine-tunes does better too, as their errors differ.

    Raises:
        ModelError: the networks differ in shape.

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" and "Model soups".
    """
    begun, *ended = (network.state_dict() for network in (start, *runs))
    shapes = {name: value.shape for name, value in begun.items()}
    if any({name: value.shape for name, value in end.items()} != shapes for end in ended):
        raise ModelError("only networks of the same shape can be blended")
    start.load_state_dict(
        {
            name: torch.lerp(value, torch.stack([end[name] for end in ended]).mean(dim=0), share)
            if value.is_floating_point()
            else value
            for name, value in begun.items()
        }
    )
    return start


def as_yolo(network: Any) -> Any:
    """The network in ultralytics' wrapper, which trains and exports it."""
    from ultralytics import YOLO

    yolo = YOLO("yolov8n.yaml")
    network.task, network.args = "detect", yolo.model.args
    yolo.model = network
    return yolo


def untrained(size: str) -> Any:
    """A YOLOv8 of that size (`n`, `s`, `m`) for the hazards, with random weights."""
    network = DetectionModel(f"yolov8{size}.yaml", nc=len(HAZARDS), verbose=False)
    network.names = dict(enumerate(HAZARDS))
    return network


def names_of(network: Any) -> dict[int, str]:
    """Names of a network's classes by number; empty if they are but the numbers, as of a network built by its shape."""
    names = {int(number): str(name) for number, name in dict(network.names).items()}
    return {} if all(name == str(number) for number, name in names.items()) else names


def write_state(network: Any, size_px: int, path: Path) -> None:
    """Write a network's tensors in half precision, with the facts needed to rebuild it."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    facts = {"classes": len(network.names), "names": names_of(network), "size_px": size_px}
    torch.save({"state": state, **facts}, path)


def _built(state: dict[str, Any], classes: int) -> Any:
    size = _SIZES[int(state["model.0.conv.weight"].shape[0])]
    network = DetectionModel(f"yolov8{size}.yaml", nc=classes, verbose=False)
    # The head of a network once trained on more classes keeps its former width.
    width = int(state["model.22.cv3.0.0.conv.weight"].shape[0])
    if network.model[-1].cv3[0][-1].in_channels != width:
        branches = DetectionModel(f"yolov8{size}.yaml", nc=width, verbose=False).model[-1].cv3
        for branch in branches:
            branch[-1] = torch.nn.Conv2d(width, classes, 1)
        network.model[-1].cv3 = branches
    network.load_state_dict({name: value.float() for name, value in state.items()})
    if classes == len(HAZARDS):
        network.names = dict(enumerate(HAZARDS))
    return network
