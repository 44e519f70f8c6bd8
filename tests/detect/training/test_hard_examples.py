from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from detect.training.corpus import CorpusError, read_corpus, read_hard, sampling_weights
from detect.training.hard_examples import find_worst_error
from functions import Box, Detection
from models.letterbox import Image
from tests.detect.pictures import corpus

ROOT = Path(__file__).parents[3]


def tells(hazard: str) -> list[Detection]:
    return [Detection(hazard, c, Box(0.4, 0.3, 0.6, 0.7)) for c in (0.3, 0.8)]


def test_picture_with_a_false_detection_is_hard(tmp_path: Path) -> None:
    fire, empty = read_corpus(
        corpus(tmp_path, ("a", "x", "train", "fire", "s1"), ("b", "y", "train", "negative", "s2"))
    )
    worst = find_worst_error(fire, lambda images: [tells("gun") for _ in images], 0)
    assert worst is not None
    assert (worst.label, worst.confidence) == ("gun", 0.8)
    assert find_worst_error(empty, lambda images: [tells("fire") for _ in images], 0) is not None
    assert find_worst_error(empty, lambda images: [[] for _ in images], 0) is None


def test_labelled_hazard_is_no_error_however_framed(tmp_path: Path) -> None:
    (fire,) = read_corpus(corpus(tmp_path, ("a", "x", "train", "fire", "s1"), labels="1 0.5 0.5 0.9 0.9\n"))
    assert find_worst_error(fire, lambda images: [tells("fire") for _ in images], 0) is None


def test_crop_is_evaluated_without_labels_outside_it(tmp_path: Path) -> None:
    (fire,) = read_corpus(corpus(tmp_path, ("a", "x", "train", "fire", "s1"), labels="1 0.05 0.05 0.1 0.1\n"))
    sizes: list[tuple[int, ...]] = []

    def finder(images: Sequence[Image]) -> list[list[Detection]]:
        sizes.extend(image.shape for image in images)
        return [tells("fire") for _ in images]

    assert any(find_worst_error(fire, finder, seed) for seed in range(20))
    assert sizes[0] == (48, 64, 3)
    assert len(sizes) % 3 == 0
    assert min(sizes) < (48, 64, 3)


def test_the_command_writes_a_list_that_training_reads(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "data", ("a", "x", "train", "fire", "s1"), ("b", "y", "val", "negative", "s2"))
    command = [sys.executable, "-m", "detect.training.hard_examples", str(folder), "--out", str(tmp_path / "hard.csv")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "0 of 1 pictures are hard\n"
    assert read_hard(tmp_path / "hard.csv") == frozenset()


def test_hard_pictures_are_drawn_more_often(tmp_path: Path) -> None:
    rows = [(f"n{i}", "x", "train", "negative", f"s{i}") for i in range(4)]
    samples = read_corpus(corpus(tmp_path, *rows, ("g", "x", "train", "gun", "s9")))
    with (tmp_path / "hard.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["picture", "hazard", "confidence"], ["n0.png", "gun", "0.60"]])
    hard = read_hard(tmp_path / "hard.csv")
    weights = sampling_weights(samples, hard, 3.0)
    assert weights[0] == pytest.approx(3 * weights[1])
    assert sum(weights[:4]) == pytest.approx(0.5)
    assert np.array(sampling_weights(samples, hard, 3.0, even=False)) * 7 == pytest.approx([3, 1, 1, 1, 1])


def test_a_list_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("name\na.png\n")
    for name in ("missing.csv", "other.csv"):
        with pytest.raises(CorpusError, match=f"{name} is not a list of hard pictures"):
            read_hard(tmp_path / name)
