"""Intervals of 95 %: of a share, of a count, and of a ratio over clips that are played more than once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge.shares import bounds

_TWO_SIDED = 1.96


def resampled(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The 95 % interval of a ratio of two sums over clips, by drawing as many of the clips again, 2,000 times."""
    values = np.array([part for part in parts if part[1] > 0], np.float64)
    if not len(values):
        return 0.0, 1.0
    drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    sums = values[drawn].sum(axis=1)
    low, high = np.percentile(sums[:, 0] / sums[:, 1], (2.5, 97.5))
    return float(low), float(high)


def wilson(right: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    return bounds(right, count, _TWO_SIDED)


def upper_bound(events: int) -> float:
    """Upper 95 % confidence bound of a Poisson mean with this many observed events, by bisection."""
    low, high = 0.0, 10.0 + 4.0 * events
    for _ in range(60):
        middle = (low + high) / 2
        terms = (math.exp(i * math.log(middle) - middle - math.lgamma(i + 1)) for i in range(events + 1))
        low, high = (middle, high) if sum(terms) > 0.05 else (low, middle)
    return high


def wider(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The interval that holds both."""
    return min(one[0], other[0]), max(one[1], other[1])
