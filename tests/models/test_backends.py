"""Every backend finds the same boxes, and reports unsupported input in one line."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from functions import Detection
from models import backends
from models.backends import Floats, onnx, open_backend
from models.letterbox import Image
from models.network import HAZARD, SCENE, Network, Spec
from models.registry import WEIGHTS, ModelError, record

ROOT = Path(__file__).parents[2]
MEDIA = ROOT / "local/demo/media"
STATE = WEIGHTS / "hazard4_320.pt"

CONFIDENCE, OVERLAP = 0.05, 0.80
"""Tolerance: bfloat16 has 8 significant bits, and of two cells with equal scores for nearly one box either may win."""

INT8_CONFIDENCE = 0.15
"""The same for int8, which has 256 values."""


@pytest.fixture(scope="module")
def pictures() -> list[Image]:
    """Frames of the demo's clips, with every hazard that they show."""
    images: list[Image] = []
    for clip in ("accident", "fire", "gun", "street"):
        with av.open(str(MEDIA / f"{clip}.mp4")) as container:
            frames = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
        images += frames[60:240:30]
    return images


def found_by(pictures: list[Image], path: Path, device: str) -> list[list[Detection]]:
    network = Network(Spec(path, HAZARD.labels, HAZARD.min_confidence), threads=1, device=device)
    return [d for i in range(0, len(pictures), 4) for d in network.detect(pictures[i : i + 4])]


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_several_threads_see_what_one_sees(pictures: list[Image], device: str) -> None:
    network = Network(Spec(HAZARD.path, HAZARD.labels, HAZARD.min_confidence), 1, device, lanes=3)
    pairs = [pictures[i : i + 2] for i in range(0, len(pictures), 2)]
    alone = [network.detect(pair) for pair in pairs]
    with ThreadPoolExecutor(3) as threads:
        assert all(list(threads.map(network.detect, pairs)) == alone for _ in range(3))


def corpus_of(pictures: list[Image], folder: Path) -> Path:
    """The pictures as a training split, without labels."""
    (folder / "train/images").mkdir(parents=True)
    lines = ["file,source_repo,split,classes,scene,sha256"]
    (folder / "train/labels").mkdir()
    for n, picture in enumerate(pictures):
        image = folder / f"train/images/{n}.png"
        cv2.imwrite(str(image), picture)
        (folder / f"train/labels/{n}.txt").write_text("")
        total = hashlib.sha256(image.read_bytes()).hexdigest()
        lines.append(f"train/images/{n}.png,demo,train,negative,{n},{total}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def agree(first: list[list[Detection]], second: list[list[Detection]], within: float = CONFIDENCE) -> bool:
    """Every box clearly over the threshold has a matching box on the other side."""
    return all(_has_likes(a, b, within) and _has_likes(b, a, within) for a, b in zip(first, second, strict=True))


def _has_likes(ones: list[Detection], others: list[Detection], within: float) -> bool:
    return all(
        any(
            d.label == o.label and abs(d.confidence - o.confidence) <= within and d.box.iou(o.box) >= OVERLAP
            for o in others
        )
        for d in ones
        if d.confidence >= HAZARD.min_confidence + within
    )


def test_openvino_agrees_with_onnxruntime(pictures: list[Image]) -> None:
    pytest.importorskip("openvino")
    expected = found_by(pictures, HAZARD.path, "cpu")
    assert sum(map(len, expected)) >= 8
    assert agree(expected, found_by(pictures, HAZARD.path, "openvino"))


@pytest.mark.torch
def test_torch_agrees_with_onnxruntime(pictures: list[Image]) -> None:
    pytest.importorskip("ultralytics")
    assert agree(found_by(pictures, HAZARD.path, "cpu"), found_by(pictures, STATE, "cpu"))


@pytest.mark.torch
def test_torch_shares_no_picture_between_threads() -> None:
    pytest.importorskip("ultralytics")
    network = open_backend(STATE, "cpu", threads=1, lanes=2)
    head = network._network._network.model[-1]  # type: ignore[attr-defined]
    network.infer(np.full((1, 3, 192, 320), 0.4, np.float32))
    assert head.shape is None


@pytest.mark.skipif(not (HAZARD.int8 and HAZARD.int8.is_file()), reason="no int8 copy of the weights is shipped")
def test_the_shipped_int8_copy_agrees_with_the_weights(pictures: list[Image]) -> None:
    expected = found_by(pictures, HAZARD.path, "cpu")
    network = Network(HAZARD, threads=1, device="cpu")
    found = [d for i in range(0, len(pictures), 4) for d in network.detect(pictures[i : i + 4])]
    assert agree(expected, found, INT8_CONFIDENCE)


@pytest.mark.torch
@pytest.mark.skipif(not onnx.has_vnni(), reason="this CPU has no VNNI, so no int8 copy is run on it")
def test_an_int8_copy_is_made_and_run_in_place_of_the_weights(pictures: list[Image], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    copy = tmp_path / "hazard4_320_int8.onnx"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "detect.training.export",
            "int8",
            HAZARD.path,
            copy,
            "--data",
            corpus_of(pictures, tmp_path),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    assert copy.stat().st_size < HAZARD.path.stat().st_size / 2
    expected = found_by(pictures, HAZARD.path, "cpu")
    network = Network(replace(HAZARD, int8=copy), threads=1, device="cpu")
    found = [d for i in range(0, len(pictures), 4) for d in network.detect(pictures[i : i + 4])]
    assert found != expected
    assert agree(expected, found, INT8_CONFIDENCE)


def test_an_int8_file_that_is_no_copy_of_the_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("flags : fpu avx2 avx_vnni\n")
    monkeypatch.setattr(onnx, "CPUINFO", tmp_path / "cpuinfo")
    other = tmp_path / "hazard4_320_int8.onnx"
    other.write_bytes(HAZARD.path.read_bytes())
    record(other)
    with pytest.raises(ModelError, match="is not a copy of"):
        open_backend(HAZARD.path, "cpu", int8=other)
    other.write_bytes(b"altered")
    with pytest.raises(ModelError, match="differs from its sha256"):
        open_backend(HAZARD.path, "cpu", int8=other)
    assert open_backend(HAZARD.path, "cpu", int8=tmp_path / "none.onnx").facts.size_px == 320
    # Without VNNI the copy is not even read.
    for flags in ("fpu avx2", ""):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        assert open_backend(HAZARD.path, "cpu", int8=other).facts.size_px == 320
    monkeypatch.setattr(onnx, "CPUINFO", tmp_path / "nothing")
    assert open_backend(HAZARD.path, "cpu", int8=other).facts.size_px == 320


@pytest.mark.torch
def test_a_checkpoint_that_could_run_code_is_not_opened(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    import torch

    ran = tmp_path / "ran"
    torch.save({"model": _Evil(ran)}, tmp_path / "evil.pt")
    record(tmp_path / "evil.pt")
    with pytest.raises(ModelError, match="holds more than tensors"):
        open_backend(tmp_path / "evil.pt", "cpu")
    assert not ran.exists()


@pytest.mark.torch
def test_a_blend_lies_between_the_start_and_the_mean_of_the_runs(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    from models.checkpoint import blend, read_checkpoint

    start, *runs = (read_checkpoint(STATE).network for _ in range(3))
    name = "model.0.conv.weight"
    was = start.state_dict()[name].clone()
    for run, moved in zip(runs, (1.0, 3.0), strict=True):
        run.state_dict()[name].add_(moved)
    middle = blend(start, runs, 0.25).state_dict()
    assert middle[name].numpy() == pytest.approx(was.numpy() + 0.5, abs=1e-5)
    counted = "model.0.bn.num_batches_tracked"
    assert middle[counted] == runs[0].state_dict()[counted]


class _Evil:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("net.engine", "cuda", "must be .onnx or .pt"),
        ("net", "auto", "must be .onnx or .pt"),
        ("net.onnx", "tpu", "device 'tpu'"),
        ("net.pt", "openvino", "openvino: .onnx only"),
    ],
)
def test_what_nothing_runs_is_one_clear_error(tmp_path: Path, name: str, device: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_backend(tmp_path / name, device)


_OPENCV = """
import cv2
import numpy as np
from models.backends import read_whole
from models.facts import describe

class OpenCvNetwork:
    def __init__(self, content, facts):
        self._network, self.facts = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8)), facts

    def infer(self, batch):
        self._network.setInput(batch)
        return [self._network.forward()]

def open_network(path, device, threads, int8=None, lanes=1):
    metadata = {"names": "{0: 'smoke', 1: 'gun', 2: 'fire'}"}
    return OpenCvNetwork(read_whole(path), describe(path, (1, 3, 64, 64), {"output0": (1, 7, 4)}, metadata))
"""


def test_another_runtime_is_one_more_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "opencv.py").write_text(_OPENCV)
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    path = tmp_path / "yolo_raw.onnx"
    path.write_bytes((ROOT / "tests/models/networks" / path.name).read_bytes())
    record(path)
    image = np.full((128, 128, 3), 90, np.uint8)
    image[:64, 64:] = (255, 0, 0)
    (found,) = Network(replace(HAZARD, path=path, int8=None), 1, "opencv").detect([image])
    assert [(d.label, d.box.x1, d.box.y2) for d in found if d.confidence > 0.5] == [("fire", 0.5, 0.5)]


def test_cuda_without_a_gpu_is_one_clear_error() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ModelError, match="has no CUDA"):
        Network(HAZARD, device="cuda")


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_recorded_file_that_is_no_network_is_one_clear_error(tmp_path: Path, device: str) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    (tmp_path / "net.onnx").write_bytes(b"no network")
    record(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="is not a usable network"):
        open_backend(tmp_path / "net.onnx", device)


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_network_that_does_not_say_its_size_is_one_clear_error(tmp_path: Path, device: str) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    (tmp_path / "net.onnx").write_bytes(HAZARD.path.read_bytes().replace(b"size_px", b"size_xp"))
    record(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="does not say the size"):
        open_backend(tmp_path / "net.onnx", device)


@pytest.mark.torch
@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_network_of_which_a_part_lies_elsewhere_is_refused(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx_files = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    onnx_files.save_model(
        onnx_files.load(HAZARD.path), path, save_as_external_data=True, location="net.bin", size_threshold=100
    )
    record(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="keeps tensors in another file"):
        open_backend(path, device)


@pytest.mark.parametrize("device", ["cpu", "openvino"])
@pytest.mark.parametrize(
    ("path", "labels", "message"),
    [
        (SCENE.path, HAZARD.labels, "has 80 classes, expected 4"),
        (HAZARD.path, {**HAZARD.labels, 4: "smoke"}, "4.*expected 5"),
    ],
)
def test_a_network_of_other_classes_is_one_clear_error(
    path: Path, labels: dict[int, str], message: str, device: str
) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    with pytest.raises(ModelError, match=message):
        Network(Spec(path, labels, 0.25), 1, device)


@pytest.mark.torch
def test_a_state_of_other_classes_is_one_clear_error() -> None:
    pytest.importorskip("ultralytics")
    with pytest.raises(ModelError, match=r"hazard4_320\.pt has 4 classes, expected 80"):
        Network(replace(SCENE, path=STATE), 1, "cpu")


def test_a_network_that_answers_nan_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(HAZARD, threads=1)
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    sides, classes = np.full((1, 64, 2100), np.nan, np.float32), np.full((1, 4, 2100), np.nan, np.float32)
    monkeypatch.setattr(network._backend, "infer", lambda batch: (sides, classes))
    assert network.detect([picture]) == [[]]
    classes[0, :, 5], sides[0, :, 7], classes[0, 2, 7], classes[0, 1, 9] = 2.0, np.inf, 2.0, np.inf
    (found,) = network.detect([picture])
    assert found == []


@pytest.mark.parametrize("side", range(4))
def test_box_with_nan_side_is_discarded(monkeypatch: pytest.MonkeyPatch, pictures: list[Image], side: int) -> None:
    network = Network(HAZARD, threads=1)
    expected = network.detect(pictures[:4])
    infer = network._backend.infer

    def overrun(batch: Floats) -> tuple[Floats, Floats]:
        sides, classes = (output.copy() for output in infer(batch))
        sides[:, side * 16 : side * 16 + 16, :5], classes[:, 1, :5] = np.nan, 3.0
        return sides, classes

    monkeypatch.setattr(network._backend, "infer", overrun)
    assert any(expected)
    assert network.detect(pictures[:4]) == expected
