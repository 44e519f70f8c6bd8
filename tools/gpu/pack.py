"""Packs corpora and Python wheels into files of under 60 MB, for a machine with a GPU and no network.

python -m tools.gpu.pack CORPUS... --out FOLDER [--size 640] [--share 1.0] [--python 3.11] [--without-wheels]

Pictures are scaled and encoded again, so the packed manifest has the sha256 of the packed files. `tools.gpu.run`
unpacks them. The wheels are those that a machine with torch, OpenCV and matplotlib lacks.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import random
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2

from detect.training.corpus import CorpusError, Sample, read_corpus, read_image

MOST_BYTES = 55_000_000
"""Size of a part: under the limit of 60 MB, which includes the tar file's headers."""
WHEELS = (
    "ultralytics-opencv-headless",
    "ultralytics-thop",
    "ultralytics-platform",
    "msgspec",
    "simplejpeg",
    "onnx",
    "onnxslim",
    "onnxruntime",
    "polars",
    "polars-runtime-32",
    "structlog",
    "prometheus-client",
    "ml-dtypes",
    "colorama",
    "flatbuffers",
)
_QUALITY = 85
_CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the parts")
    parser.add_argument("--size", type=int, default=640, help="longer side of the pictures, in px")
    parser.add_argument("--share", type=float, default=1.0, help="share of the pictures, for a dry run")
    parser.add_argument(
        "--python", default=f"{sys.version_info.major}.{sys.version_info.minor}", help="Python version of the wheels"
    )
    parser.add_argument("--without-wheels", action="store_true")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    try:
        for folder in chosen.corpora:
            samples = _some(read_corpus(folder), chosen.share)
            parts = write_parts(_files(samples, chosen.size), chosen.out, folder.name)
            print(f"{folder.name}: {len(samples)} pictures in {len(parts)} parts")
    except CorpusError as error:
        parser.error(str(error))
    if not chosen.without_wheels:
        _fetch_wheels(chosen.out / "wheels", chosen.python)


def write_parts(files: Iterable[tuple[str, bytes]], out: Path, name: str, most: int = MOST_BYTES) -> list[Path]:
    """Write files into `NAME-00.tar`, `NAME-01.tar`, ..., each with at most that many bytes of content.

    Parts of an earlier packing are removed, as two packings in one folder would be unpacked as one corpus.
    """
    for old in out.glob(f"{name}-[0-9][0-9].tar"):
        old.unlink()
    parts: list[Path] = []
    left, tar = 0, None
    for path, content in files:
        if tar is None or len(content) > left:
            if tar:
                tar.close()
            parts.append(out / f"{name}-{len(parts):02}.tar")
            left, tar = most, tarfile.open(parts[-1], "w")  # noqa: SIM115  # closed when it is full
        member = tarfile.TarInfo(f"{name}/{path}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
        left -= len(content)
    if tar:
        tar.close()
    return parts


def _files(samples: Sequence[Sample], size_px: int) -> Iterator[tuple[str, bytes]]:
    """Pictures, labels and, at the end, the manifest."""
    manifest = io.StringIO()
    rows = csv.writer(manifest)
    rows.writerow(["file", "source_repo", "split", "classes", "scene", "sha256"])
    for sample in samples:
        content = _scaled(sample, size_px)
        picture = f"{sample.split}/images/{sample.path.stem}.webp"
        total = hashlib.sha256(content).hexdigest()
        rows.writerow([picture, sample.source, sample.split, sample.label, sample.scene, total])
        yield picture, content
        yield f"{sample.split}/labels/{sample.labels_path.name}", sample.labels_path.read_bytes()
    yield "manifest.csv", manifest.getvalue().encode()


def _scaled(sample: Sample, size_px: int) -> bytes:
    image = read_image(sample)
    scale = size_px / max(image.shape[:2])
    if scale >= 1 and sample.path.suffix == ".webp":
        return sample.path.read_bytes()
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    _, coded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return coded.tobytes()


def _some(samples: Sequence[Sample], share: float) -> Sequence[Sample]:
    """A share of the pictures of each split and label."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in random.Random(0).sample(samples, len(samples)):
        groups.setdefault((sample.split, sample.label), []).append(sample)
    kept = {s.path for group in groups.values() for s in group[: max(1, round(share * len(group)))]}
    return [s for s in samples if s.path in kept]


def _fetch_wheels(folder: Path, python: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--constraint", str(_CONSTRAINTS), "--dest", str(folder), *WHEELS]
    subprocess.run(command, check=True)
    for wheel in sorted(folder.iterdir()):
        if wheel.stat().st_size > MOST_BYTES:
            print(f"{wheel.name} is {wheel.stat().st_size / 1e6:.0f} MB: over the limit of a part")


if __name__ == "__main__":
    main()
