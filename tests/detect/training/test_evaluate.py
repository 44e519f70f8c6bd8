from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect.training.calibrate import count, make_burst
from detect.training.corpus import read_corpus
from detect.training.evaluate import look, mean_ap
from functions import Box, Detection
from models.letterbox import Image
from tests.detect.pictures import corpus

ROOT = Path(__file__).parents[3]


def knows_fire(images: Sequence[Image]) -> list[list[Detection]]:
    return [[Detection("fire", 0.9, Box(0.4, 0.3, 0.6, 0.7))] for _ in images]


def test_scores_are_of_each_source_alone(tmp_path: Path) -> None:
    folder = corpus(tmp_path, ("a", "x", "val", "fire", "s1"), ("b", "y", "val", "negative", "s2"))
    looked = look(read_corpus(folder), knows_fire)
    assert mean_ap(looked.of("x").matched())[0] == pytest.approx(1.0)
    assert looked.of("y").matched()[1].truths == 0
    assert len(looked.of("y").matched()[1].confidence) == 1


def test_command_writes_tables_of_the_shipped_weights(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "data", ("a", "x", "val", "fire", "s1"), ("b", "y", "test", "negative", "s2"))
    unseen = corpus(tmp_path / "other", ("c", "z", "train", "fire", "s1"))
    command = [sys.executable, "-m", "detect.training.evaluate", str(folder), "--unseen", str(unseen)]
    ran = subprocess.run(
        [*command, "--effects", "1", "--out", str(tmp_path / "out.md")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == (tmp_path / "out.md").read_text()
    for expected in ("| val | fire | 1 |", "| unseen: other | fire | 1 |", "| infrared |", "Reliability"):
        assert expected in ran.stdout


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "detect.training.evaluate", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 2
    assert "no corpus at" in ran.stderr.splitlines()[-1]


def test_a_burst_of_one_picture_is_four_that_nearly_agree() -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    cv2.circle(image, (80, 45), 20, (255, 255, 255), -1)
    frames = make_burst(image, np.random.default_rng(0))
    assert [f.shape for f in frames] == [image.shape] * 4
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    assert all(np.abs(f.astype(int) - image).mean() < 20 for f in frames)


def test_detection_off_the_hazard_counts_as_false(tmp_path: Path) -> None:
    samples = read_corpus(corpus(tmp_path, ("a", "x", "val", "fire", "s1"), ("b", "y", "val", "negative", "s2")))
    seen = [Detection("fire", 0.5, Box(0.4, 0.3, 0.6, 0.7))]
    bursts = [[seen, seen, seen, []], [seen, seen, [], []]]
    two, three = (count(samples, bursts, "fire", 0.4, frames) for frames in (2, 3))
    assert (two.right, two.shown, two.wrong, two.absent) == (1, 1, 1, 1)
    assert (three.right, three.wrong) == (1, 0)
    assert count(samples, bursts, "fire", 0.6, 2).right == 0
