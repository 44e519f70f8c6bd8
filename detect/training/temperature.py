"""Calibrates confidences: one temperature for each class, fitted on labelled pictures and folded into the last layer.

`detect.training.export temper` runs it. A network's confidence should be the share of such detections that are right.
Scores (logits) are divided by the class's temperature: above 1 the network was too sure of itself, below 1 not enough.
The order of a class's detections does not change, so its average precision does not either; its thresholds must be
chosen again.

Source: Guo et al. 2017, "On calibration of modern neural networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detect.training.scores import Floats, Matched

LEAST = 0.05
"""Detections below this confidence are left out: there are thousands, nearly all wrong, and no threshold is so low."""
_RANGE = np.exp(np.linspace(np.log(0.25), np.log(4.0), 400))
_FEW = 20
"""Detections, right and wrong together, that a class needs; with fewer its temperature stays 1."""


def fit_temperatures(matched: Sequence[Matched]) -> list[float]:
    """The temperature of each class under which its detections are most likely, from 0.25 to 4.

    Args:
        matched: detections of each class; the first overlap decides which are right.
    """
    return [_fit(m.confidence, m.hit[:, 0]) for m in matched]


def temper(network: Any, temperatures: Sequence[float]) -> None:
    """Divide the class scores of a YOLOv8 network of torch by these, in place, in the last layer of its class branches.

    Raises:
        ValueError: the network has another number of classes.
    """
    import torch

    for branch in network.model[-1].cv3:
        last = branch[-1]
        if last.out_channels != len(temperatures):
            raise ValueError(f"{len(temperatures)} temperatures for a network of {last.out_channels} classes")
        divisor = torch.tensor(temperatures)
        with torch.no_grad():
            last.weight.div_(divisor[:, None, None, None])
            last.bias.div_(divisor)


def _fit(confidence: Floats, hit: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    kept = confidence >= LEAST
    if kept.sum() < _FEW or not 0 < hit[kept].sum() < kept.sum():
        return 1.0
    sure = confidence[kept].clip(max=1 - 1e-6)
    scores, right = np.log(sure / (1 - sure)), hit[kept]
    losses = [np.logaddexp(0, np.where(right, -scores, scores) / t).mean() for t in _RANGE]
    return float(_RANGE[int(np.argmin(losses))])
