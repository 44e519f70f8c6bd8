"""Measures thresholds for `detect/rules.py`: bursts made from validation pictures, confirmed at each threshold.

python -m detect.training.calibrate CORPUS [--weights FILE] [--out FILE.md]

A burst is one picture four times as a camera would send it: shifted slightly, noisy, compressed again. It is easier
than a real scene, as nothing moves, and harder, as the pictures were collected for their hazards or look-alikes.
A burst is false for a hazard that its picture does not show. Neither the test split nor a clip is used.

The second table is for the second look only, at the part of a burst in which something moved (`detect/zoom.py`). A
still picture does not show what moved: something labelled and its surroundings are assumed; without labels, a person or
vehicle that the scene network finds; without those, any part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from detect.rules import RULES, confirm
from detect.training.augment import compression, noise
from detect.training.corpus import CorpusError, Sample, read_corpus, read_image
from detect.training.scores import Tally, tally
from detect.zoom import cut, keep_overlapping, part
from functions import HAZARDS, Box, Detection, Hazard
from models.letterbox import Image
from models.network import HAZARD, SCENE, Network
from models.registry import ModelError

THRESHOLDS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
_FRAMES = 4
_SHIFT = 0.015
"""The largest shift of a frame, as a share of the picture's width."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the corpus whose validation split is used")
    parser.add_argument("--weights", type=Path, default=HAZARD.path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="where to write the table")
    chosen = parser.parse_args()
    try:
        lines = _measure(chosen.data, chosen.weights, chosen.device)
    except (CorpusError, ModelError) as error:
        parser.error(str(error))
    print("\n".join(lines))
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n")


def _measure(data: Path, weights: Path, device: str) -> list[str]:
    """Both tables."""
    samples = [s for s in read_corpus(data) if s.split == "val"]
    network = Network(replace(HAZARD, path=weights, int8=None), device=device)
    bursts = [network.detect(make_burst(read_image(s), np.random.default_rng(i))) for i, s in enumerate(samples)]
    near = ZoomedLook(Network(SCENE, device=device), network)
    closer = [near.look(s, np.random.default_rng(i)) for i, s in enumerate(samples)]
    looked = [(s, burst) for s, burst in zip(samples, closer, strict=True) if burst is not None]
    lines = ["Whole frames:", "", *table(samples, bursts), "", f"The second look, at {len(looked)} of them:", ""]
    lines += table([s for s, _ in looked], [burst for _, burst in looked])
    return [*lines, "", "Bursts confirmed that show the hazard, and that do not."]


def make_burst(image: Image, rng: np.random.Generator) -> list[Image]:
    """Four frames of a still scene."""
    frames = []
    for _ in range(_FRAMES):
        dx, dy = rng.uniform(-_SHIFT, _SHIFT, 2) * image.shape[1]
        moved = cv2.warpAffine(
            image, np.array([[1, 0, dx], [0, 1, dy]], np.float32), image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
        )
        frames.append(compression(noise(np.asarray(moved, np.uint8), rng), rng))
    return frames


class ZoomedLook:
    """The second look at a burst that was made from a picture."""

    def __init__(self, scene: Network, hazards: Network) -> None:
        self._scene = scene
        self._hazards = hazards

    def look(self, sample: Sample, rng: np.random.Generator) -> list[list[Detection]] | None:
        """Detections in each frame, or None if the moving part is too large for a second look."""
        image = read_image(sample)
        moved = self._moved(sample, image, rng)
        where = part(moved)
        if where is None:
            return None
        found = self._hazards.detect([cut(frame, where) for frame in make_burst(image, rng)])
        return [keep_overlapping(frame, where, moved) for frame in found]

    def _moved(self, sample: Sample, image: Image, rng: np.random.Generator) -> Box:
        boxes = [t.box for t in sample.truths()] or [d.box for d in self._scene.detect([image])[0]]
        if not boxes:
            left, top = rng.uniform(0, 0.8, 2)
            return Box(left, top, left + 0.2, top + 0.2)
        # A weapon moves with the arm that holds it, a flame with its smoke.
        return boxes[int(rng.integers(len(boxes)))].grown(rng.uniform(1, 3))


def count(
    samples: Sequence[Sample],
    bursts: Sequence[Sequence[Sequence[Detection]]],
    hazard: Hazard,
    threshold: float,
    frames: int,
) -> Tally:
    """Count what one rule confirms; bursts of a weapon of unknown kind are left out for guns and knives."""
    rules = {**RULES, hazard: replace(RULES[hazard], threshold=threshold, frames=frames)}
    number = HAZARDS.index(hazard)
    shown, detected = [], []
    for sample, burst in zip(samples, bursts, strict=True):
        truths = sample.truths()
        is_shown = any(t.number == number for t in truths)
        if is_shown or not any(t.may_be(number) for t in truths):
            shown.append(is_shown)
            detected.append(any(c.hazard == hazard for c in confirm(burst, rules=rules)))
    return tally(shown, detected)


def table(samples: Sequence[Sample], bursts: Sequence[Sequence[Sequence[Detection]]]) -> list[str]:
    """A line for each hazard and number of frames: confirmed bursts that show it, and that do not, by threshold."""
    lines = ["| hazard | frames of 4 | " + " | ".join(f"{t:g}" for t in THRESHOLDS) + " |"]
    lines.append("|---" * (len(THRESHOLDS) + 2) + "|")
    for hazard in HAZARDS:
        for frames in (2, 3, 4):
            counts = [count(samples, bursts, hazard, t, frames) for t in THRESHOLDS]
            lines.append(f"| {hazard} | {frames} | " + " | ".join(f"{c.right}, {c.wrong}" for c in counts) + " |")
        lines.append(f"| | of | {counts[0].shown}, {counts[0].absent} |" + " |" * (len(THRESHOLDS) - 1))
    return lines


if __name__ == "__main__":
    main()
