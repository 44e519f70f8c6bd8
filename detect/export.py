"""Makes the shipped ONNX weights from PyTorch ones; needs the `train` extra. Run by whoever changes a network.

python -m detect.export hazard yolov8n_hazard4.pt detect/weights/hazard4_320.onnx
python -m detect.export scene  yolov8n_coco_init.pt detect/weights/scene_640.onnx
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
SIZES = {"hazard": 320, "scene": 640}


def main() -> None:
    """Export one network, and write the checksums of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["hazard", "scene"])
    parser.add_argument("source", type=Path, help="a .pt file: a checkpoint, or a state dict of YOLOv8n on COCO")
    parser.add_argument("target", type=Path)
    chosen = parser.parse_args()
    export(chosen.source, chosen.target, SIZES[chosen.network])
    write_checksums()


def export(source: Path, target: Path, size_px: int) -> None:
    """Write `source` as ONNX for square pictures of `size_px`, any number of them in a batch."""
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0")
    _make_torchvision_importable()
    import torch
    from ultralytics import YOLO

    loaded = torch.load(source, map_location="cpu", weights_only=False)
    if "model" in loaded:
        model = YOLO(str(source))
    else:
        model = YOLO("yolov8n.yaml")
        model.model.load_state_dict({name: value.float() for name, value in loaded.items()})
    with tempfile.TemporaryDirectory() as folder:
        model.model.pt_path = str(Path(folder) / "network.pt")
        model.ckpt_path = model.model.pt_path
        written = model.export(format="onnx", imgsz=size_px, dynamic=False, batch=1, simplify=True, opset=17)
        _free_batch(Path(written))
        shutil.move(written, target)


def write_checksums() -> None:
    """Record the sha256 of every shipped network; the detector loads nothing else."""
    lines = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}" for f in sorted(WEIGHTS.glob("*.onnx"))]
    (WEIGHTS / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def _free_batch(path: Path) -> None:
    """Let the batch be of any size, the picture not: fixed shapes inside run faster than dynamic ones."""
    import onnx

    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    for node in model.graph.node:
        _free_reshape(model, node)
    # Where and when it was trained is for the card to say; without the date a new export is the same file.
    del model.metadata_props[:]
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _free_reshape(model, node) -> None:  # type: ignore[no-untyped-def]
    """A Reshape to (1, ...) with known other sizes becomes one to (0, ...): keep the batch as it comes."""
    from onnx import numpy_helper

    if node.op_type != "Reshape":
        return
    for tensor in model.graph.initializer:
        if tensor.name == node.input[1]:
            shape = numpy_helper.to_array(tensor).copy()
            if shape[0] == 1:
                shape[0] = 0
                fresh = numpy_helper.from_array(shape, f"{tensor.name}_{node.name}_free")
                model.graph.initializer.append(fresh)
                node.input[1] = fresh.name
            return


def _make_torchvision_importable() -> None:
    # The torchvision that fits a CPU-only torch is built for CUDA and fails on import for want of these two operators.
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _make_torchvision_importable.keep = library  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
