"""Recognises rain and snow by what they leave in single pictures, so that the gate can be more patient then."""

from __future__ import annotations

from collections.abc import Iterable

from motion.background import pace
from motion.look import Rejected

_WEATHER_S = 4.0  # time constant of the mean
# Measured on the labelled clips and their variants: 1.0 to 3.4 a look in rain and snow, at most 0.7 in anything else.
_FLECKS = 1.2


class Precipitation:
    """Follows how many regions a look has that are too small, or were not there at the look before."""

    def __init__(self) -> None:
        self._flecks = 0.0

    @property
    def is_falling(self) -> bool:
        """Whether drops or flakes fall through the picture."""
        return self._flecks > _FLECKS

    def update(self, rejected: Iterable[Rejected], gap_s: float) -> None:
        """Process a look.

        Args:
            rejected: the regions that were not reported.
            gap_s: seconds since the previous look.
        """
        flecks = sum(region.reason in ("seen once", "too small") for region in rejected)
        self._flecks += pace(gap_s, _WEATHER_S) * (flecks - self._flecks)
