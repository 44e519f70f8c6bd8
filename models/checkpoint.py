"""Reads `.pt` files into networks of torch; training, export and the backend on torch use it. Needs the `train` extra.

Three kinds hold tensors and plain values only, and are read with `weights_only`, which cannot run code: our own
(`write_state`), the state of a run that goes on (its moving average), and a bare state dict of YOLOv8 on COCO. The
fourth, a checkpoint of ultralytics, is a pickle and may run code; it is opened only where that is asked for. All are
read only if their sha256 is recorded.
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
"""Channels of the first convolution, by which YOLOv8's sizes differ."""
_COCO_CLASSES = 80


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network of torch and, where the file says so, the longer side in pixels that it was made for (else 0)."""

    network: Any
    size_px: int


class RawHead(torch.nn.Module):  # type: ignore[misc]  # where torch is not installed, it is of any kind
    """A network that tells what `Backend.infer` tells, and makes no boxes of it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self._network = network.fuse(verbose=False).eval()
        # Ultralytics' head would go on to boxes, by places that it keeps for pictures of the last size: threads that
        # run pictures of several sizes would take each other's.
        self._network.model[-1]._inference = _no_boxes

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sides and classes, of pictures of shape (n, 3, height, width)."""
        told = self._network(pictures)[1]
        return told["boxes"], told["scores"]


def _no_boxes(told: dict[str, Any]) -> None:
    """What a head makes of what it tells: nothing."""


def read_checkpoint(path: Path, *, pickles: bool = False) -> Checkpoint:
    """Build the network that a file holds.

    Args:
        path: the `.pt` file.
        pickles: also open checkpoints of ultralytics.

    Raises:
        ModelError: not recorded, not the recorded one, or none of the kinds above.
    """
    content = read_verified(path)
    try:
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not pickles:
            raise ModelError(
                f"{path} holds more than tensors: make a safe file of it with `detect.training.export state`"
            ) from None
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
        # A run's own size; who trained elsewhere may have said none.
        size_px = int(stored.get("train_args", {}).get("imgsz") or 0)
        return Checkpoint((stored.get("ema") or stored["model"]).float(), size_px)
    except Exception as error:  # torch complains of a broken file in a dozen ways
        raise ModelError(f"{path} is no file of torch: {error}") from error
    try:
        if "average" in stored:
            average = stored["average"]
            return Checkpoint(_built(average, int(average["model.22.cv3.0.2.weight"].shape[0])), 0)
        if "state" in stored:
            return Checkpoint(_built(stored["state"], int(stored["classes"])), int(stored["size_px"]))
        return Checkpoint(_built(stored, _COCO_CLASSES), 0)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} holds no YOLOv8: {error}") from error


def blend(start: Any, runs: Sequence[Any], share: float) -> Any:
    """The start with every tensor moved towards the mean of what runs made of it: 0 is the start, 1 the mean.

    Between a network and its fine-tune there are some that know what both know, and do better than either on pictures
    from elsewhere; so does the mean of several fine-tunes, whose errors differ.

    Raises:
        ModelError: they are not of one shape.

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
    """The network in ultralytics' own wrapper, which trains and exports."""
    from ultralytics import YOLO

    yolo = YOLO("yolov8n.yaml")
    network.task, network.args = "detect", yolo.model.args
    yolo.model = network
    return yolo


def untrained(size: str) -> Any:
    """A YOLOv8 of that size (`n`, `s`, `m`) for the hazards, with weights of chance."""
    network = DetectionModel(f"yolov8{size}.yaml", nc=len(HAZARDS), verbose=False)
    network.names = dict(enumerate(HAZARDS))
    return network


def write_state(network: Any, size_px: int, path: Path) -> None:
    """Write a network's tensors in half precision, and what is needed to build it around them."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    torch.save({"state": state, "classes": len(network.names), "size_px": size_px}, path)


def _built(state: dict[str, Any], classes: int) -> Any:
    size = _SIZES[int(state["model.0.conv.weight"].shape[0])]
    network = DetectionModel(f"yolov8{size}.yaml", nc=classes, verbose=False)
    # The head of a network that was once trained on more classes keeps the width that it had then.
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
