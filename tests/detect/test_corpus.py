from __future__ import annotations

from pathlib import Path

import pytest

from detect.corpus import CorpusError, digest, read_corpus, sampling_weights
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


@pytest.mark.parametrize("line", ["1 0.5 0.5 0.2", "9 0.5 0.5 0.2 0.2", "1 0.5 nan 0.2 0.2", "fire 1 1 1 1"])
def test_a_line_that_is_no_label_is_refused(tmp_path: Path, line: str) -> None:
    (sample,) = read_corpus(corpus(tmp_path, ("a", "x", "train", "fire", "s1"), labels=line))
    with pytest.raises(CorpusError, match="a line must be 'class x y width height'"):
        sample.truths()


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
