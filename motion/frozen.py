"""Tells a frozen picture, as of a camera whose sensor hangs while its encoder goes on, from a quiet scene."""

from __future__ import annotations

import numpy as np

from motion.pixels import Luma

_LEVELS = 2  # by so many levels a pixel must differ: encoding the same picture again moves it by one
_SHARE = 0.002  # of the picture: the noise of a sensor changes far more of it, a clock in the picture less
_LEAST_LOOKS = 5


class FrozenPicture:
    """Compares each look with the first that looked just like it."""

    def __init__(self, after_s: float) -> None:
        """Call a picture frozen that has not changed for `after_s` seconds; 0 for never."""
        self._after_s = after_s
        self._first: Luma | None = None
        self._first_at_s = 0.0
        self._looks = 0

    def see(self, luma: Luma, at_s: float) -> bool:
        """Take a look; returns whether the picture is frozen."""
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
