"""Trains, measures and exports on a machine without a network, within some minutes; one command, from `tools.gpu.pack`.

python -m tools.gpu.run PACKED --out FOLDER [--minutes 13] [--device 0] [--network s --size 640] [--looks weapons_cctv]

The first corpus (`--data`) trains with its train split and is validated with its val split; the train splits of the
others are added, except those of `--unseen`. The number of epochs that fit is measured first, so that the learning rate
reaches its end in time. The run's files are copied to FOLDER each minute, only complete ones: if the machine is lost,
so is at most a minute of work. On the same machine, the same command continues from the last epoch.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_AFTER_S = 150.0
"""Time reserved for measuring and exporting, at a GPU's speed."""
_KEPT = ("weights/best.pt", "weights/last.pt", "weights/SHA256SUMS", "results.csv", "recipe.json", "card.md")


def main() -> None:
    """Run all steps; each prints a line with the seconds since the start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=13.0, help="for everything")
    parser.add_argument("--device", default="0", help="the number of the GPU, or cpu for a dry run")
    parser.add_argument("--data", default="hazard4", help="the corpus for validation")
    parser.add_argument("--unseen", nargs="*", default=["hazard4_extra"], help="corpora used only for measuring")
    parser.add_argument("--looks", nargs="*", default=["weapons_cctv"], help="corpora whose looks are compared")
    parser.add_argument(
        "--network",
        choices=["n", "s", "m"],
        help="begin with an untrained network of this size instead of the shipped one",
    )
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=6400, help="pictures in one epoch")
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--workers", type=int, default=14)
    chosen = parser.parse_args()
    chosen.packed, chosen.out = chosen.packed.resolve(), chosen.out.resolve()
    begun = time.monotonic()
    ends = begun + 60 * chosen.minutes
    work = chosen.packed / "work"
    chosen.out.mkdir(parents=True, exist_ok=True)
    _install(chosen.packed / "wheels")
    _report(begun, f"unpacked {unpack(chosen.packed, work)}")
    command = _training(chosen, work)
    recipe = {"size_px": chosen.size, "batch": chosen.batch, "lr": chosen.lr, "zoom": 0.3, "pictures": chosen.pictures}
    run = work / "run"
    if not (run / "recipe.json").is_file():
        each_s = _measure_speed(command, work, recipe)
        left_s = ends - time.monotonic() - _AFTER_S * (chosen.device != "cpu")
        epochs = max(2, int(0.9 * left_s / (each_s * chosen.pictures)))
        _report(begun, f"{1 / each_s:.0f} pictures/s: {epochs} epochs of {chosen.pictures}")
        (work / "recipe.json").write_text(json.dumps({**recipe, "epochs": epochs, "look_every": max(1, epochs // 8)}))
    with Copying(run, chosen.out):
        hours = max(0.0, (ends - time.monotonic() - 60) / 3600)
        _python(*command, "--recipe", str(work / "recipe.json"), "--run", str(run), "--hours", f"{hours:.4f}")
    _report(begun, "trained")
    _export(run, chosen.out)
    _report(begun, "exported")
    _python(*_measuring(chosen, work, run), check=False)
    _report(begun, f"measured; all is in {chosen.out}")


def unpack(packed: Path, work: Path) -> str:
    """Unpack all parts that have not been unpacked yet."""
    work.mkdir(exist_ok=True)
    parts = sorted(packed.glob("*.tar"))
    if not parts:
        sys.exit(f"{packed} has no .tar files: make them with `python -m tools.gpu.pack`")
    for part in parts:
        done = work / f"{part.name}.done"
        if not done.is_file():
            with tarfile.open(part) as tar:
                tar.extractall(work, filter="data")
            done.touch()
    return ", ".join(part.name for part in parts)


class Copying:
    """Copies a run's files to another folder at intervals, and at its end."""

    def __init__(self, run: Path, out: Path, every_s: float = 60.0) -> None:
        self._run, self._out, self._every_s = run, out, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._copy_on, daemon=True)

    def __enter__(self) -> Copying:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._copy()

    def _copy_on(self) -> None:
        while not self._ended.wait(self._every_s):
            self._copy()

    def _copy(self) -> None:
        for name in _KEPT:
            try:
                part = self._out / f"{Path(name).name}.part"
                shutil.copyfile(self._run / name, part)
                part.replace(part.with_suffix(""))
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    print(f"{name} was not copied: {error}", flush=True)


def _install(wheels: Path) -> None:
    """Install the packed wheels that this Python lacks."""
    try:
        import msgspec  # noqa: F401
        import simplejpeg  # noqa: F401
        import ultralytics  # noqa: F401
    except ImportError:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*command, *map(str, sorted(wheels.glob("*.whl")))], check=True)


def _training(chosen: argparse.Namespace, work: Path) -> list[str]:
    corpora = sorted(p.parent.name for p in work.glob("*/manifest.csv"))
    more = [str(work / name) for name in corpora if name not in (chosen.data, *chosen.unseen)]
    command = ["-m", "detect.training.train", str(work / chosen.data), "--device", chosen.device]
    command += ["--workers", str(chosen.workers)]
    command += ["--final", *more] if more else []
    return [*command, "--network", chosen.network] if chosen.network else command


def _measure_speed(command: Sequence[str], work: Path, recipe: dict[str, object]) -> float:
    """Seconds for a picture, from the second of two short epochs."""
    trial = work / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    batch = int(str(recipe["batch"]))
    few = {**recipe, "pictures": 8 * batch, "epochs": 3, "look_every": 3}
    (work / "trial.json").write_text(json.dumps(few))
    for hours in ("0", "0"):
        _python(*command, "--recipe", str(work / "trial.json"), "--run", str(trial), "--hours", hours)
    with (trial / "results.csv").open(newline="") as file:
        last = float(list(csv.DictReader(file))[-1]["time"])
    return last / (8 * batch)


def _export(run: Path, out: Path) -> None:
    best = run / "weights/best.pt"
    if best.is_file():
        size = json.loads((run / "recipe.json").read_text())["size_px"]
        _python("-m", "models.record", str(best))
        _python("-m", "detect.training.export", "hazard", str(best), str(out / f"hazard4_{size}.onnx"))


def _measuring(chosen: argparse.Namespace, work: Path, run: Path) -> list[str]:
    command = ["-m", "detect.training.evaluate", str(work / chosen.data), "--weights", str(run / "weights/best.pt")]
    command += ["--device", "cpu" if chosen.device == "cpu" else "auto", "--out", str(chosen.out / "scores.md")]
    for option, names in (("--unseen", chosen.unseen), ("--looks", chosen.looks)):
        there = [str(work / name) for name in names if (work / name).is_dir()]
        command += [option, *there] if there else []
    return command


def _python(*command: str, check: bool = True) -> None:
    subprocess.run([sys.executable, *command], cwd=ROOT, check=check)


def _report(begun: float, what: str) -> None:
    print(f"[{time.monotonic() - begun:5.0f} s] {what}", flush=True)


if __name__ == "__main__":
    main()
