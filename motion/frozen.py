"""Distinguishes a frozen picture (the sensor hangs, the encoder goes on) from a quiet scene."""

from __future__ import annotations

import numpy as np

from motion.pixels import Luma

_LEVELS = 2  # a pixel must differ by this many levels: encoding the same picture again changes it by one
_SHARE = 0.002  # of the picture: sensor noise changes far more of it, a clock in the picture less
_LEAST_LOOKS = 5


class FrozenPicture:
    """Compares each look with the first that looked the same."""

    def __init__(self, after_s: float) -> None:
        """Treat a picture as frozen when it has not changed for `after_s` seconds; 0: never."""
        self._after_s = after_s
        self._first: Luma | None = None
        self._first_at_s = 0.0
        self._looks = 0

    def update(self, luma: Luma, at_s: float) -> bool:
        """Process a look; returns whether the picture is frozen."""
        if not self._after_s:
            return False
        if self._first is None or at_s < self._first_at_s or self._differs(luma, self._first):
            self._first, self._first_at_s, self._looks = luma, at_s, 0
        self._looks += 1
        return at_s - self._first_at_s >= self._after_s and self._looks >= _LEAST_LOOKS

    def _differs(self, luma: Luma, first: Luma) -> bool:
        if luma.shape != first.shape:
            return True
        apart = np.maximum(luma, first) - np.minimum(luma, first) >= _LEVELS
        return int(np.count_nonzero(apart)) > _SHARE * luma.size
