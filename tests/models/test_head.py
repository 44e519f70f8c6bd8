from __future__ import annotations

import numpy as np
import pytest

from models.head import read_boxes

SEEN = (64, 96)
PLACES = 8 * 12 + 4 * 6 + 2 * 3


def silence() -> tuple[np.ndarray, np.ndarray]:
    """Outputs of a network with three classes that finds nothing in any cell."""
    return np.zeros((64, PLACES), np.float32), np.full((3, PLACES), -9.0, np.float32)


def test_a_likely_place_becomes_one_box_of_its_own_grid() -> None:
    sides, classes = silence()
    place = 8 * 12 + 1 * 6 + 2  # second grid, cells of 16 px: second row, third column
    classes[2, place] = 2.0
    for side, cells in enumerate((1, 0, 3, 2)):
        sides[side * 16 + cells, place] = 50.0
    corners, confidence, which = read_boxes(sides, classes, SEEN, (0, 2), 0.25)
    assert corners[0] == pytest.approx([40 - 16, 24, 16 + 48, 32])
    assert confidence == pytest.approx([1 / (1 + np.exp(-2.0))])
    assert which.tolist() == [1]


def test_only_wanted_confident_classes_are_read() -> None:
    sides, classes = silence()
    classes[1, 3] = 5.0
    classes[0, 4] = np.log(0.25 / 0.75) - 0.01
    assert len(read_boxes(sides, classes, SEEN, (0, 2), 0.25)[0]) == 0
    assert len(read_boxes(sides, classes, SEEN, (0, 1), 0.25)[0]) == 1
    assert len(read_boxes(sides, classes, SEEN, (0, 1), 0.24)[0]) == 2


def test_nothing_is_read_from_numbers_that_are_none() -> None:
    sides, classes = silence()
    classes[:, 3], sides[:, 4], classes[0, 4], classes[0, 5] = np.nan, np.nan, 3.0, np.inf
    corners, confidence, _ = read_boxes(sides, classes, SEEN, (0, 1, 2), 0.25)
    assert confidence == pytest.approx([1 / (1 + np.exp(-3.0)), 1.0])
    assert np.isnan(corners[0]).all()
    assert np.isfinite(corners[1]).all()


@pytest.mark.torch
def test_boxes_are_those_that_ultralytics_makes() -> None:
    pytest.importorskip("ultralytics")
    import torch

    from models.checkpoint import RawHead, read_checkpoint
    from models.registry import WEIGHTS

    network = read_checkpoint(WEIGHTS / "hazard4_320.pt").network.fuse(verbose=False).eval()
    pictures = torch.rand(1, 3, 160, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (theirs,) = network(pictures)[0].numpy()
        sides, classes = (output[0].numpy() for output in RawHead(network)(pictures))
    corners, confidence, _ = read_boxes(sides, classes, (160, 224), (0, 1, 2, 3), 1e-30)
    middle, size = corners[:, :2] + corners[:, 2:] / 2, corners[:, 2:]
    ours = np.concatenate([middle, size], axis=1).T
    assert ours == pytest.approx(theirs[:4], abs=1e-2)
    assert confidence == pytest.approx(theirs[4:].max(axis=0), abs=1e-5)
