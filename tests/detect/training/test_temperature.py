"""Confidences are calibrated by one number for each class, which ends up in the network's last layer."""

from __future__ import annotations

import numpy as np
import pytest

from detect.training.scores import Matched, calibration_error, reliability
from detect.training.temperature import fit_temperatures, temper
from functions import HAZARDS


def detections(temperature: float, count: int = 4000) -> Matched:
    """Detections of a network whose scores are this many times too large."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, count)
    hit = rng.random(count) < 1 / (1 + np.exp(-true))
    confidence = 1 / (1 + np.exp(-true * temperature))
    order = np.argsort(-confidence)
    return Matched(confidence[order], hit[order, None], int(hit.sum()))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_of_scaled_scores_is_found(temperature: float) -> None:
    (found,) = fit_temperatures([detections(temperature)])
    assert found == pytest.approx(temperature, rel=0.1)


def test_tempered_confidences_are_the_share_that_is_right() -> None:
    sure = detections(2.5)
    (temperature,) = fit_temperatures([sure])
    scores = np.log(sure.confidence / (1 - sure.confidence))
    tempered = Matched(1 / (1 + np.exp(-scores / temperature)), sure.hit, sure.truths)
    assert calibration_error(reliability([tempered])) < 0.03 < calibration_error(reliability([sure]))


def test_too_few_detections_leave_the_temperature_at_one() -> None:
    none = Matched(np.zeros(0), np.zeros((0, 10), np.bool_), 0)
    all_right = Matched(np.full(50, 0.6), np.ones((50, 10), np.bool_), 50)
    assert fit_temperatures([none, all_right]) == [1.0, 1.0]


@pytest.mark.torch
def test_tempered_network_has_divided_scores() -> None:
    pytest.importorskip("ultralytics")
    from models import torch_setup

    torch_setup.prepare(1)
    import torch

    from models.checkpoint import RawHead, untrained

    temperatures = [1.5, 0.5, 2.0, 1.0]
    network = untrained("n")
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = RawHead(network)(picture)
        temper(network, temperatures)
        after = RawHead(network)(picture)
    assert torch.equal(before[0], after[0])
    divided = before[1] / torch.tensor(temperatures)[None, :, None]
    assert torch.allclose(after[1], divided, atol=1e-5)
    with pytest.raises(ValueError, match="3 temperatures for a network of 4 classes"):
        temper(network, [1.0] * (len(HAZARDS) - 1))
