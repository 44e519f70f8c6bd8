"""Converts a checkpoint to weights that the detector can load; needs the `train` extra.

python -m detect.training.export hazard RUN/weights/best.pt detect/weights/hazard4_320.onnx
python -m detect.training.export scene  yolov8n_coco_init.pt detect/weights/scene_640.onnx
python -m detect.training.export state  RUN/weights/best.pt RUN/hazard4_320.pt
python -m detect.training.export blend  RUN/weights/best.pt RUN/blend.pt --start START.pt --share 0.5 --also MORE.pt
python -m detect.training.export temper RUN/blend.pt RUN/tempered.pt --data CORPUS
python -m detect.training.export int8   detect/weights/hazard4_320.onnx RUN/hazard4_320_int8.onnx --data CORPUS

`state` is for the torch backend: only tensors, which cannot run code; `blend` writes the same kind. `temper` calibrates
the confidences of such a file on the validation split of corpora (`detect/training/temperature.py`). Each command
records the sha256 of its output in the `SHA256SUMS` of that folder; a checkpoint is read only if it is recorded.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detect.training.corpus import CorpusError
from functions import HAZARDS
from models.backends import COPY_KEY, Floats
from models.facts import NAMES_KEY, SIZE_KEY, size_in
from models.letterbox import Image, fit, letterbox
from models.registry import ModelError, read_verified, record

SIZES = {"hazard": 320, "scene": 640}
_CALIBRATION = 300
"""Pictures for calibrating the ranges of tensors for int8."""
_FLOAT = r"/model\.[01]/|/model\.22/(cv3\.\d/cv3\.\d\.1/|cv\d\.\d/cv\d\.\d\.2/|Reshape|Concat)"
"""Layers that stay in single precision: the first two convolutions and the last two of each class branch, whose
channels differ a hundredfold in range, so that 256 steps are too few for all of them; and the head's outputs."""
_SILU_IS_NOTHING = np.float32(-6.5)
"""Below this, a sigmoid is less than half of one of 256 steps; tensors reach -100, which should not use any steps."""


def main() -> None:
    """Export one network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["hazard", "scene", "state", "blend", "temper", "int8"])
    parser.add_argument(
        "source", type=Path, help="a .pt file: a checkpoint, or a state dict of YOLOv8n on COCO; for int8 an .onnx file"
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", type=int, help="longer side of the input in px, if not as in training")
    parser.add_argument(
        "--data", type=Path, nargs="*", default=[], help="for int8: training pictures of these corpora; for temper: val"
    )
    parser.add_argument("--start", type=Path, help="for blend: the weights that the run started from")
    parser.add_argument(
        "--share", type=float, default=0.5, help="for blend: share of the source, 0 to 1; the rest is the start"
    )
    parser.add_argument(
        "--also", type=Path, nargs="*", default=[], help="for blend: more runs; the mean of all is used"
    )
    chosen = parser.parse_args()
    try:
        if chosen.what == "int8":
            quantise(chosen.source, chosen.target, chosen.data or parser.error("int8 needs --data CORPUS"))
        elif chosen.what == "temper":
            export_tempered(chosen.source, chosen.target, chosen.data or parser.error("temper needs --data CORPUS"))
        elif chosen.what == "state":
            export_state(chosen.source, chosen.target, chosen.size)
        elif chosen.what == "blend":
            start = chosen.start or parser.error("blend needs --start FILE.pt")
            runs = [chosen.source, *chosen.also]
            export_blend(runs, start, chosen.share, chosen.target, chosen.size)
        else:
            export(chosen.source, chosen.target, chosen.size, SIZES[chosen.what])
        record(chosen.target)
    except (CorpusError, ModelError) as error:
        parser.error(str(error))


def export(source: Path, target: Path, size_px: int | None = None, usual_px: int = SIZES["hazard"]) -> None:
    """Write `source` as ONNX, up to the head's raw outputs; inputs are any number of pictures, sides multiples of 32.

    Args:
        source: the checkpoint.
        target: the `.onnx` file.
        size_px: longer side of the training pictures, written into the file's metadata; None: as in the
            checkpoint ...
        usual_px: ... or this, if it has none.

    Raises:
        ModelError: the checkpoint is not the recorded one.
    """
    import onnx
    import onnxslim
    import torch

    from models.checkpoint import RawHead, names_of, read_checkpoint

    read = read_checkpoint(source, pickles=True)
    names = names_of(read.network)
    network, size_px = RawHead(read.network), size_px or read.size_px or usual_px
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, size_px, size_px),),
            written,
            dynamo=False,
            opset_version=17,
            input_names=["images"],
            output_names=["sides", "classes"],
        )
        model = onnxslim.slim(onnx.load(written))
    _free_shapes(model)
    model.metadata_props.add(key=SIZE_KEY, value=str(size_px))
    if names:
        model.metadata_props.add(key=NAMES_KEY, value=repr(names))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def export_state(source: Path, target: Path, size_px: int | None = None) -> None:
    """Write the tensors of a checkpoint, and what is needed to rebuild the network; the size as in `export`.

    Raises:
        ModelError: the checkpoint is not the recorded one.
    """
    from models.checkpoint import read_checkpoint, write_state

    read = read_checkpoint(source, pickles=True)
    write_state(read.network, size_px or read.size_px or SIZES["hazard"], target)


def export_blend(runs: Sequence[Path], start: Path, share: float, target: Path, size_px: int | None = None) -> None:
    """Write a network between the start of some runs and the mean of their results (`checkpoint.blend`).

    Its size is the first run's, as in `export`.

    Raises:
        ModelError: a checkpoint is not the recorded one, or the networks differ in shape.
    """
    from models.checkpoint import blend, read_checkpoint, write_state

    begun, *ended = (read_checkpoint(path, pickles=True) for path in (start, *runs))
    blended = blend(begun.network, [run.network for run in ended], share)
    write_state(blended, size_px or ended[0].size_px or SIZES["hazard"], target)


def export_tempered(source: Path, target: Path, data: Sequence[Path]) -> None:
    """Write a network with calibrated confidences: the temperatures are fitted on the validation splits and printed.

    Raises:
        CorpusError: a corpus cannot be read.
        ModelError: the weights are not the recorded ones.
    """
    from detect.training.corpus import read_corpus
    from detect.training.evaluate import look, open_network
    from detect.training.temperature import fit_temperatures, temper
    from models.checkpoint import read_checkpoint, write_state

    samples = [s for folder in data for s in read_corpus(folder) if s.split == "val"]
    temperatures = fit_temperatures(look(samples, open_network(source).detect).matched())
    print("Temperatures: " + ", ".join(f"{h} {t:.2f}" for h, t in zip(HAZARDS, temperatures, strict=True)))
    read = read_checkpoint(source)
    temper(read.network, temperatures)
    write_state(read.network, read.size_px or SIZES["hazard"], target)


def quantise(source: Path, target: Path, data: Sequence[Path]) -> None:
    """Write an int8 copy of ONNX weights for onnxruntime on a CPU, with ranges calibrated on training pictures.

    Raises:
        ModelError: the weights are not the recorded ones.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    from detect.training.corpus import read_corpus, read_image

    samples = [s for folder in data for s in read_corpus(folder) if s.split == "train"]
    chosen = samples[:: max(1, len(samples) // _CALIBRATION)]
    content = read_verified(source)
    model = onnx.load_from_string(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    size_px = size_in(metadata, source)
    left = [node.name for node in model.graph.node if re.search(_FLOAT, node.name)]
    before_silu = {node.input[0] for node in model.graph.node if node.op_type == "Sigmoid" and node.name not in left}
    quantize_static(
        model,
        target,
        _Pictures(model.graph.input[0].name, (_seen(read_image(sample), size_px) for sample in chosen)),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=CalibrationMethod.MinMax,
        nodes_to_exclude=left,
        extra_options={
            # The mean of each picture's extremes, so that a single picture does not make the steps coarse for all.
            "CalibMovingAverage": True,
            "TensorQuantOverrides": {name: [{"rmin": _SILU_IS_NOTHING}] for name in before_silu},
        },
    )
    made = _fused(target)
    for key in {SIZE_KEY, NAMES_KEY} & metadata.keys():
        made.metadata_props.add(key=key, value=metadata[key])
    made.metadata_props.add(key=COPY_KEY, value=hashlib.sha256(content).hexdigest())
    onnx.save(made, target)


def _fused(path: Path) -> Any:
    """The network after those optimizations of onnxruntime that are the same on every CPU, which halves loading."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "fused.onnx")
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        made = onnx.load(options.optimized_model_filepath)
    del made.metadata_props[:]
    return made


class _Pictures:
    """The data reader of onnxruntime's calibration: one input after another, then None."""

    def __init__(self, name: str, batches: Iterable[Floats]) -> None:
        self._name = name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Floats] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}

    def set_range(self, *_: int) -> None:
        """Used by calibrators that work in strides; ours takes all."""


def _seen(image: Image, size_px: int) -> Floats:
    return letterbox([image], [fit(image.shape, size_px)])


def _free_shapes(model: Any) -> None:
    """Make the batch, height and width dynamic in a network that was traced at one size."""
    from onnx import numpy_helper

    free = [(value, {0: "batch", 2: "height", 3: "width"}) for value in model.graph.input]
    free += [(value, {0: "batch", 2: "places"}) for value in model.graph.output]
    for value, names in free:
        for axis, name in names.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            # The batch is dynamic, the channels are fixed, and the number of cells is dynamic.
            channels = int(numpy_helper.to_array(tensor)[1])
            tensor.CopyFrom(numpy_helper.from_array(np.array([0, channels, -1]), tensor.name))


if __name__ == "__main__":
    main()
