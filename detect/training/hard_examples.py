"""Finds the training pictures that a network errs on, so that the next run draws them more often.

python -m detect.training.hard_examples CORPUS --out hard.csv [--weights FILE]
make train DATA=CORPUS ARGS='--hard hard.csv'

A picture is hard if the network detects a hazard that it does not show: brake lights as fire, a planter as a gun.
The network runs on each whole picture and, as in the detector's second look, on crops.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from detect.training.augment import Boxes, zoom
from detect.training.corpus import CorpusError, Sample, Truth, read_corpus, read_image
from detect.training.evaluate import Finder
from functions import HAZARDS, Box, Detection
from models.network import HAZARD, Network
from models.registry import ModelError

_PARTS = 2


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the corpus whose training split is used")
    parser.add_argument("--weights", type=Path, default=HAZARD.path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True, help="the .csv file for `detect.training.train --hard`")
    chosen = parser.parse_args()
    try:
        samples = [s for s in read_corpus(chosen.data) if s.split == "train"]
        network = Network(replace(HAZARD, path=chosen.weights, int8=None), device=chosen.device)
        errors = [
            (sample, wrong)
            for i, sample in enumerate(samples)
            if (wrong := find_worst_error(sample, network.detect, i))
        ]
    except (CorpusError, ModelError) as error:
        parser.error(str(error))
    with chosen.out.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["picture", "hazard", "confidence"])
        rows.writerows([s.path.name, wrong.label, f"{wrong.confidence:.2f}"] for s, wrong in errors)
    print(f"{len(errors)} of {len(samples)} pictures are hard")


def find_worst_error(sample: Sample, finder: Finder, seed: int) -> Detection | None:
    """The most confident false detection in a picture or in some crops of it."""
    image, truths, rng = read_image(sample), sample.truths(), np.random.default_rng(seed)
    numbers: Boxes = np.array([[t.number] for t in truths], np.float32).reshape(-1, 1)
    boxes: Boxes = np.array([_middle(t.box) for t in truths], np.float32).reshape(-1, 4)
    views = [(image, numbers), *(zoom(image, numbers, boxes, rng)[:2] for _ in range(_PARTS))]
    wrong = [
        d
        for view, there in views
        for d in finder([view])[0]
        if not any(Truth(int(n), d.box).may_be(HAZARDS.index(d.label)) for n in there.ravel())
    ]
    return max(wrong, key=lambda d: d.confidence, default=None)


def _middle(box: Box) -> tuple[float, float, float, float]:
    return (*box.center, box.x2 - box.x1, box.y2 - box.y1)


if __name__ == "__main__":
    main()
