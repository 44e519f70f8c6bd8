"""JPEG bytes in, boxes out: this detector against `ultralytics.YOLO(...).predict`, same weights, pictures, threads.

    python -m bench.detect_speed [--checkpoint FILE.pt] [--weights FILE.onnx] [--int8 FILE.onnx] [--rounds 5]

`make bench-detect` runs it in the environment that has torch. Each program runs in its own process, by turns in every
round, so that other load of the machine affects both. Times are of one thread. Cold: from the start of the process to
its first boxes. Batches: 16 pictures an inference against one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEDIA = ROOT / "local/demo/media"
WEIGHTS = ROOT / "detect/weights"
_PICTURES = 32
_WIDTH, _HEIGHT = 1280, 720
_INT8 = "int8"


def main() -> None:
    """Print a table of ratios; in a child process, measure one program and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", type=Path, default=WEIGHTS / "hazard4_320.pt", help="the network for ultralytics"
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS / "hazard4_320.onnx", help="the same for this detector")
    parser.add_argument("--devices", nargs="*", default=["cpu", "openvino"], help="of this detector, each is measured")
    parser.add_argument(
        "--int8", type=Path, default=WEIGHTS / "hazard4_320_int8.onnx", help="its int8 copy, if there is one"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        name, weights, pictures = chosen.side
        print(json.dumps(_measure(name, Path(weights), Path(pictures))))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_pictures(Path(folder))
        with _for_ultralytics(chosen.checkpoint, Path(folder)) as checkpoint:
            sides = {"ultralytics": checkpoint} | dict.fromkeys(chosen.devices, chosen.weights)
            if chosen.int8.is_file():
                sides[_INT8] = chosen.int8
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
            for _ in range(chosen.rounds):
                for name, weights in sides.items():
                    runs[name].append(_run(name, weights, Path(folder)))
    print("\n".join(_table(runs)))


def _table(runs: dict[str, list[dict[str, float]]]) -> list[str]:
    quantities = {
        "cold_s": ("process start to first boxes", "s", 2),
        "cold_cpu_s": ("CPU of the same", "s", 2),
        "image_ms": ("a picture, one at a time", "ms", 1),
        "image_cpu_ms": ("CPU of the same", "ms", 1),
        "batch_ms": ("a picture, 16 at a time", "ms", 1),
        "batch_cpu_ms": ("CPU of the same", "ms", 1),
        "memory_mb": ("most memory, one at a time", "MB", 0),
    }
    names = list(runs)
    lines = ["| what | " + " | ".join(names) + " | ratio |", "|---" * (len(names) + 2) + "|"]
    for key, (what, unit, digits) in quantities.items():
        values = [statistics.median(run[key] for run in runs[name]) for name in names]
        ratios = ", ".join(f"{values[0] / v:.1f}x" for v in values[1:])
        lines.append(f"| {what} | " + " | ".join(f"{v:.{digits}f} {unit}" for v in values) + f" | {ratios} |")
    return lines


def _run(name: str, weights: Path, pictures: Path) -> dict[str, float]:
    begun = time.time()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "BEGUN": str(begun)}
    output = subprocess.run(
        [sys.executable, "-m", "bench.detect_speed", "--side", name, str(weights), str(pictures)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if output.returncode:
        raise SystemExit(f"bench of {name} failed: {output.stderr.strip().splitlines()[-1]}")
    measured: dict[str, float] = json.loads(output.stdout.strip().splitlines()[-1])
    return measured


def _measure(name: str, weights: Path, folder: Path) -> dict[str, float]:
    jpegs = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    detect = _open_ultralytics(weights) if name == "ultralytics" else _open_ours(weights, name)
    detect(jpegs[:1])
    cold_s = time.time() - float(os.environ["BEGUN"])
    cold_cpu_s = time.process_time()
    for jpeg in jpegs[:4]:
        detect([jpeg])
    alone = [_timed(detect, [jpeg]) for jpeg in jpegs]
    memory_mb = _most_memory_mb()
    detect(jpegs[:16])
    together = [_timed(detect, jpegs[i : i + 16]) for i in range(0, len(jpegs) - 15, 16)]
    return {
        "cold_s": cold_s,
        "cold_cpu_s": cold_cpu_s,
        "image_ms": statistics.median(wall for wall, _ in alone) * 1000,
        "image_cpu_ms": statistics.median(cpu for _, cpu in alone) * 1000,
        "batch_ms": statistics.median(wall for wall, _ in together) / 16 * 1000,
        "batch_cpu_ms": statistics.median(cpu for _, cpu in together) / 16 * 1000,
        "memory_mb": memory_mb,
    }


def _most_memory_mb() -> float:
    """Peak memory of this process; getrusage would include that of the parent that it was forked from."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def _timed(detect: Callable[[Sequence[bytes]], Any], jpegs: Sequence[bytes]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    detect(jpegs)
    return time.perf_counter() - wall, time.process_time() - cpu


def _open_ours(weights: Path, name: str) -> Callable[[Sequence[bytes]], Any]:
    import cv2

    from models.network import HAZARD, Network, Spec, decode_jpeg

    cv2.setNumThreads(1)
    network = Network(Spec(weights, HAZARD.labels, HAZARD.min_confidence), 1, "cpu" if name == _INT8 else name)
    return lambda jpegs: network.detect([decode_jpeg(jpeg, enough_px=network.size_px) for jpeg in jpegs])


def _open_ultralytics(weights: Path) -> Callable[[Sequence[bytes]], Any]:
    from models import torch_setup

    torch_setup.prepare(1)
    import cv2
    import numpy as np
    from ultralytics import YOLO

    cv2.setNumThreads(1)
    model = YOLO(str(weights))

    def detect(jpegs: Sequence[bytes]) -> Any:
        images = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in jpegs]
        found = model.predict(images, imgsz=320, conf=0.25, iou=0.5, device="cpu", verbose=False)
        return [result.boxes.data.numpy() for result in found]

    return detect


@contextmanager
def _for_ultralytics(checkpoint: Path, folder: Path) -> Iterator[Path]:
    """Convert our file of tensors to a checkpoint that `YOLO(...)` opens."""
    from models.checkpoint import as_yolo, read_checkpoint

    path = folder / "checkpoint.pt"
    as_yolo(read_checkpoint(checkpoint, pickles=True).network).save(path)
    yield path


def _write_pictures(folder: Path) -> None:
    """Frames of the demo's clips at the size and quality in which motion sends them."""
    import av
    import cv2

    clips = [MEDIA / f"{name}.mp4" for name in ("accident", "fire", "gun", "street")]
    for n, clip in enumerate(clips):
        with av.open(str(clip)) as container:
            frames = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)][60:300]
        for i, frame in enumerate(frames[:: len(frames) // (_PICTURES // len(clips))][: _PICTURES // len(clips)]):
            picture = cv2.resize(frame, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / f"{n}{i:02}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
