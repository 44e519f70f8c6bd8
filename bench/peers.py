"""Other ways to find motion in small luma pictures, for the comparison in `bench/gate.py`; all on OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import cv2 as opencv
import numpy as np
from numpy.typing import NDArray

cv2: Any = opencv  # its stubs know neither element types nor scalar operands
Luma = NDArray[np.uint8]

LEAST_SHARE = 0.001
"""Share of the picture: the minimum region, as in this gate at medium sensitivity."""
KEY_S = 1.5
_WARM_UP_S = 1.0


class Peer(Protocol):
    """Finds motion."""

    def detect(self, luma: Luma, at_s: float) -> bool:
        """Process a look, five a second; returns whether something moves."""


class RunningAverage:
    """As in Frigate: 100 rows, contrast stretched, blurred, against an average that moves by a hundredth."""

    def __init__(self) -> None:
        self._average: NDArray[np.float32] | None = None
        self._began_s = 0.0

    def detect(self, luma: Luma, at_s: float) -> bool:
        """Process a look."""
        rows = 100
        small = cv2.resize(luma, (luma.shape[1] * rows // luma.shape[0], rows), interpolation=cv2.INTER_LINEAR)
        low, high = np.percentile(small, (4, 96))
        stretched = np.clip((small.astype(np.float32) - low) * 255 / max(1.0, float(high - low)), 0, 255)
        now = cv2.GaussianBlur(stretched.astype(np.uint8), (3, 3), 1)
        if self._average is None or self._average.shape != now.shape:
            self._average, self._began_s = now.astype(np.float32), at_s
        difference = cv2.absdiff(now, cv2.convertScaleAbs(self._average))
        mask = cv2.dilate((difference > 30).astype(np.uint8), None, iterations=1)
        cv2.accumulateWeighted(now, self._average, 0.2 if at_s - self._began_s < _WARM_UP_S else 0.01)
        areas = cv2.connectedComponentsWithStats(mask)[2][1:, 4]
        if np.count_nonzero(mask) > 0.8 * mask.size or at_s - self._began_s < _WARM_UP_S:
            return False
        return bool(np.any(areas > 10))


class Subtractor:
    """OpenCV's MOG2 or KNN, its mask cleaned by a median, regions of at least `LEAST_SHARE`."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        self._model = kind(detectShadows=False)
        self._began_s: float | None = None

    def detect(self, luma: Luma, at_s: float) -> bool:
        """Process a look."""
        self._began_s = at_s if self._began_s is None else self._began_s
        mask = cv2.medianBlur(self._model.apply(luma), 3)
        if at_s - self._began_s < _WARM_UP_S:
            return False
        return _has_region(mask)


class ThreeFrames:
    """Differences between three key frames, 1.5 s apart: the cheapest way, as nothing else has to be decoded."""

    def __init__(self) -> None:
        self._frames: list[Luma] = []
        self._next_s = 0.0
        self._said = False

    def detect(self, luma: Luma, at_s: float) -> bool:
        """Process a look; between key frames the answer is the last one's."""
        if at_s < self._next_s:
            return self._said
        self._next_s = at_s + KEY_S
        self._frames = [*self._frames[-2:], cv2.blur(luma, (3, 3))]
        if len(self._frames) < 3:
            return False
        first, second, third = self._frames
        mask = ((cv2.absdiff(first, second) > 20) | (cv2.absdiff(second, third) > 20)).astype(np.uint8)
        self._said = _has_region(mask)
        return self._said


PEERS: dict[str, Callable[[], Peer]] = {
    "running average": RunningAverage,
    "MOG2": lambda: Subtractor(cv2.createBackgroundSubtractorMOG2),
    "KNN": lambda: Subtractor(cv2.createBackgroundSubtractorKNN),
    "three key frames": ThreeFrames,
}


def _has_region(mask: NDArray[np.uint8]) -> bool:
    areas = cv2.connectedComponentsWithStats(mask)[2][1:, 4]
    return bool(np.any(areas >= LEAST_SHARE * mask.size))
