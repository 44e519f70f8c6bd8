"""Makes torch and ultralytics importable and quiet on this machine; training, export and their tests call it first."""

from __future__ import annotations

import os
from pathlib import Path

_kept: list[object] = []


def prepare(threads: int = 0) -> None:
    """Set up ultralytics without downloads, installations or telemetry, and with limited threads.

    Args:
        threads: torch's threads on a CPU; 0 for torch's default.
    """
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0", YOLO_VERBOSE="True")
    # Waiting threads must not spin on a CPU that another thread needs: on a busy machine a step would take many times
    # as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _make_torchvision_importable()
    import torch
    import ultralytics.utils
    from ultralytics import settings

    settings.update({"sync": False})
    _give_a_font()
    if threads:
        # ultralytics resets torch's thread count whenever it selects a device.
        ultralytics.utils.NUM_THREADS = threads
        import ultralytics.utils.torch_utils

        ultralytics.utils.torch_utils.NUM_THREADS = threads
        torch.set_num_threads(threads)


def _make_torchvision_importable() -> None:
    """Define the two operators that a CUDA build of torchvision needs on a CPU build of torch, and one CPU kernel."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        pass
    else:
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    _kept.append(library)
    import torchvision.extension

    # It checks whether its own library is loaded, not whether the operator exists.
    torchvision.extension._has_ops = lambda: True


def _nms(boxes, scores, iou_threshold):  # type: ignore[no-untyped-def]
    """Indices of the boxes that remain after non-maximum suppression, most confident first."""
    from ultralytics.utils.nms import TorchNMS

    return TorchNMS.nms(boxes, scores, iou_threshold)


def _give_a_font() -> None:
    """Ultralytics draws its curves with Arial, which it would download: give it one of matplotlib's fonts."""
    import matplotlib
    from ultralytics.utils import USER_CONFIG_DIR

    font = Path(USER_CONFIG_DIR) / "Arial.ttf"
    if not font.exists():
        font.parent.mkdir(parents=True, exist_ok=True)
        font.write_bytes((Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf").read_bytes())
