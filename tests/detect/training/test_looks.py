"""Ways to look for weapons are compared by what they detect in pictures, at thresholds of a stated false rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from detect.training.corpus import read_corpus, read_image
from detect.training.looks import Result, _describe, _groups_table, _looks_table, tables, threshold_at
from models.network import HAZARD
from tests.detect.pictures import corpus


@pytest.mark.parametrize(("rate", "false"), [(0.0, 0), (0.1, 1), (0.25, 2), (1.0, 10)])
def test_a_threshold_is_wrong_in_no_more_pictures_than_stated(rate: float, false: int) -> None:
    confidences = [0.9, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0]
    least = threshold_at(confidences, rate)
    # Equal confidences are either all accepted or all rejected.
    assert sum(c >= least for c in confidences) == (1 if rate == 0.25 else false)


def test_looks_are_counted_by_size_and_light(tmp_path: Path) -> None:
    folder = corpus(
        tmp_path, ("a", "x", "val", "weapon", "s"), ("b", "x", "val", "negative", "t"), labels="4 .5 .5 .05 .05"
    )
    samples = read_corpus(folder)
    pictures = [_describe(sample, read_image(sample)) for sample in samples]
    assert [(p.is_armed, p.size, p.light) for p in pictures] == [(True, "small", "night"), (False, "", "night")]
    seen = {"whole": [Result(0.6, True, 10), Result(0.5, True, 20)]}
    rows = _looks_table(pictures, seen)
    assert rows[-1] == "| whole | 1 | 1 | 0.50 | 1 | 15 |"
    assert _groups_table(pictures, seen)[:3] == [
        "| look | small (of 1) | night (of 1) |",
        "|---|---|---|",
        "| whole | 1 | 1 |",
    ]


def test_the_shipped_networks_are_compared_on_a_corpus(tmp_path: Path) -> None:
    folder = corpus(tmp_path, ("a", "x", "val", "gun", "s"), ("b", "x", "val", "negative", "t"), labels="2 .5 .5 .3 .3")
    lines = tables(folder, HAZARD.path, "cpu")
    assert [line.split(" |")[0] for line in lines if line.startswith("| four")] == ["| four tiles of 0.6"] * 2
