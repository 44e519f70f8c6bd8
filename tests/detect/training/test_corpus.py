from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from detect.training.corpus import CorpusError, digest, read_corpus, sampling_weights
from functions import HAZARDS
from tests.detect.pictures import corpus


def test_a_corpus_knows_each_picture_with_its_source_and_labels(tmp_path: Path) -> None:
    first, second = read_corpus(
        corpus(tmp_path, ("a", "x", "train", "fire", "s1"), ("b", "y", "val", "negative", "s2"))
    )
    assert (first.split, first.source, first.scene, first.label) == ("train", "x", "s1", "fire")
    (truth,) = first.truths()
    assert HAZARDS[truth.number] == "fire"
    assert (truth.box.x1, truth.box.y1, truth.box.x2, truth.box.y2) == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert second.truths() == []


def test_an_altered_picture_is_refused(tmp_path: Path) -> None:
    folder = corpus(tmp_path, ("a", "x", "train", "fire", "s1"))
    (folder / "train/images/a.png").write_bytes(b"other")
    with pytest.raises(CorpusError, match=r"a\.png is not the picture that the manifest records"):
        read_corpus(folder)


@pytest.mark.parametrize("missing", ["manifest.csv", "train/images/a.png", "train/labels/a.txt"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    folder = corpus(tmp_path, ("a", "x", "train", "fire", "s1"))
    (folder / missing).unlink()
    with pytest.raises(CorpusError, match=missing.rpartition("/")[2]):
        read_corpus(folder)


@pytest.mark.parametrize(
    "line",
    [
        "1 0.5 0.5 0.2",
        "9 0.5 0.5 0.2 0.2",
        "1 0.5 nan 0.2 0.2",
        "1 0.5 0.5 inf 0.2",
        "fire 1 1 1 1",
        "1 320 200 60 40",  # pixels
        "1 0.5 0.5 -0.2 0.2",
        "1 -0.1 0.5 0.2 0.2",
    ],
)
def test_bad_label_line_is_refused_before_training(tmp_path: Path, line: str) -> None:
    with pytest.raises(CorpusError, match="a line must be 'class x y width height', class 0-4, the others in frac"):
        read_corpus(corpus(tmp_path, ("a", "x", "train", "fire", "s1"), labels=line))


def test_label_slightly_over_the_edge_is_clipped(tmp_path: Path) -> None:
    (sample,) = read_corpus(corpus(tmp_path, ("a", "x", "train", "fire", "s1"), labels="1 0.9 0.5 0.21 1.001"))
    (truth,) = sample.truths()
    assert (truth.box.x2, truth.box.y1, truth.box.y2) == (1, 0, 1)


def test_a_manifest_that_a_spreadsheet_wrote_is_read(tmp_path: Path) -> None:
    manifest = corpus(tmp_path, ("a", "x", "train", "fire", "s1")) / "manifest.csv"
    manifest.write_text(manifest.read_text(), encoding="utf-8-sig")
    assert len(read_corpus(tmp_path)) == 1


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        (",train,", ",training,", "line 2: split must be train, val or test, got 'training'"),
        (",fire,", ",Fire,", "line 2: classes must be one of .*, negative, got 'Fire'"),
        (",s1,", ",", "line 2: has fewer columns"),
        ("x,train", "\udcff,train", "must be UTF-8"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, was: str, now: str, message: str) -> None:
    manifest = corpus(tmp_path, ("a", "x", "train", "fire", "s1")) / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(was, now), errors="surrogateescape")
    with pytest.raises(CorpusError, match=message):
        read_corpus(tmp_path)


@pytest.mark.parametrize("module", ["evaluate", "calibrate", "hard_examples"])
def test_a_picture_that_cannot_be_decoded_is_told_in_one_line(tmp_path: Path, module: str) -> None:
    split = "train" if module == "hard_examples" else "val"
    folder = corpus(tmp_path, ("a", "x", split, "fire", "s1"))
    picture = folder / split / "images/a.png"
    was = hashlib.sha256(picture.read_bytes()).hexdigest()
    picture.write_bytes(b"no picture")
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(was, hashlib.sha256(b"no picture").hexdigest()))
    command = [sys.executable, "-m", f"detect.training.{module}", str(folder), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("a.png cannot be decoded")


def test_a_changed_label_changes_the_digest(tmp_path: Path) -> None:
    folder = corpus(tmp_path, ("a", "x", "train", "fire", "s1"))
    before = digest(read_corpus(folder))
    (folder / "train/labels/a.txt").write_text("1 0.5 0.5 0.3 0.4\n")
    assert digest(read_corpus(folder)) != before


def test_no_label_source_or_scene_drowns_the_others(tmp_path: Path) -> None:
    many = [(f"m{i}", "stock", "train", "gun", f"s{i}") for i in range(100)]
    few = [(f"f{i}", "cctv", "train", "gun", f"t{i}") for i in range(4)]
    samples = read_corpus(corpus(tmp_path, *many, *few, ("n", "z", "train", "negative", "u")))
    weights = sampling_weights(samples)
    assert sum(weights) == pytest.approx(1)
    by_label = {
        label: sum(w for w, s in zip(weights, samples, strict=True) if s.label == label)
        for label in ("gun", "negative")
    }
    assert by_label == pytest.approx({"gun": 0.5, "negative": 0.5})
    assert weights[100] == pytest.approx(5 * weights[0])
