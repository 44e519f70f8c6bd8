"""A model of a camera's usual picture and its variation, for each pixel; the gate compares each look with it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from motion import pixels
from motion.pixels import Luma, Mask

Average = NDArray[np.float32]

_BACKGROUND_S = 6.0  # time constant of the average where nothing moves ...
_CHANGED_S = 30.0  # ... where something differs, so that it is not absorbed at once ...
_HELD_S = 240.0  # ... and where something new may be standing
_NOISE_S = 8.0
_NOISE_HELD_S = 60.0
_NOISE_CLIP = 3.0  # a deviation counts as at most this many times the usual one: people must not raise the noise
_NOISE_CAP = 24.0
_NOISE_CELL = 8  # side in px of the cells over which noise is also averaged: a single pixel's estimate is imprecise
_WORK_WIDTH = 400  # a larger luma is subsampled: the thresholds below are tuned for about 320x180
_MIN_SIDE = 24  # objects cannot be distinguished in less
_BLACK = 16.0  # the luma of black in video
_FIRST_PACE = 1 / 3  # weight of each look while calibrating
_BAR_S = 0.9  # the thresholds are updated no more often than this


class Background:
    """A running average of the scene, the usual deviation from it, and the threshold that follows from both."""

    def __init__(self, now: Luma, floor: float, weber: float, noise_gain: float) -> None:
        """Start from one look.

        Args:
            now: the look, shape (H, W).
            floor: levels of 255 by which a pixel must differ if it is black and nothing varies.
            weber: added to that for each level of brightness: light varies in proportion to brightness.
            noise_gain: added for each level by which the pixel usually differs.
        """
        self._floor, self._weber, self._noise_gain = floor, weber, noise_gain
        self.noise: Average = np.full(now.shape, 1.0, np.float32)
        self.start(now)

    def start(self, now: Luma) -> None:
        """Forget the scene, but keep the variation of each pixel."""
        self.average: Average = now.astype(np.float32)
        self._bar_at_s = -math.inf

    def bar(self, at_s: float) -> Luma:
        """The threshold of each pixel, in levels of 255."""
        if not 0 <= at_s - self._bar_at_s < _BAR_S:
            noise = np.minimum(self.noise, np.float32(_NOISE_CAP))
            bar = np.maximum(noise, _around(noise))
            bar *= np.float32(self._noise_gain)
            bar += np.float32(self._weber) * np.maximum(self.average - np.float32(_BLACK), np.float32(0.0))
            bar += np.float32(self._floor)
            # Rounded down to whole levels: an integer difference is over 5.6 exactly if it is over 5.
            self._bar, self._bar_at_s = np.minimum(bar, np.float32(255.0)).astype(np.uint8), at_s
        return self._bar

    def learn_first(self, now: Luma, level: Luma) -> None:
        """Learn from a look while calibrating: quickly, and from every pixel."""
        deviation = np.abs(level - self.average)
        learn(self.average, now, np.float32(_FIRST_PACE))
        learn(self.noise, deviation, np.float32(_FIRST_PACE))
        self._bar_at_s = -math.inf

    def learn(self, now: Luma, level: Luma, changed: Mask, held: Mask, gap_s: float) -> None:
        """Learn from a look.

        Args:
            now: the look.
            level: the look, adjusted to the background's light.
            changed: where it was over the threshold.
            held: where something new may be standing.
            gap_s: seconds since the previous look.
        """
        quick = np.float32(pace(gap_s, _BACKGROUND_S))
        paces = changed.astype(np.float32)
        paces *= np.float32(pace(gap_s, _CHANGED_S)) - quick
        paces += quick
        noise_pace: np.float32 | Average = np.float32(pace(gap_s, _NOISE_S))
        if held.any():
            # The whole region: where a person's clothes match the wall they would be absorbed, and leave a ghost.
            paces[held] = pace(gap_s, _HELD_S)
            noise_pace = np.where(held, np.float32(pace(gap_s, _NOISE_HELD_S)), noise_pace)
        deviation = np.abs(level - self.average)
        usual = self.noise * np.float32(_NOISE_CLIP) + np.float32(2.0)
        learn(self.average, now, paces)
        learn(self.noise, np.minimum(deviation, usual), noise_pace)

    def accept(self, now: Luma, here: Mask) -> None:
        """Absorb a region of the current picture into the background."""
        self.average[here] = now[here]

    def relit(self, now: Luma) -> Average:
        """The background as it would look now if only brightness and contrast had changed."""
        return _relit(self.average, now)


def prepared(luma: Luma) -> Luma | None:
    """A look, prepared for comparison; None if it is too small to judge.

    Raises:
        ValueError: not a 2-d uint8 array.
    """
    if luma.ndim != 2 or luma.dtype != np.uint8:
        raise ValueError(f"luma must be uint8 of shape (H, W), got {luma.dtype} of shape {luma.shape}")
    step = max(1, math.ceil(max(luma.shape) / _WORK_WIDTH))
    looked = luma[::step, ::step]
    return pixels.blur(looked) if min(looked.shape) >= _MIN_SIDE else None


def levelled(now: Luma, before: Luma) -> Luma:
    """A look, adjusted by the change of brightness that most of it shows since another look."""
    change = (now[4::8, 4::8].astype(np.int16) - before[4::8, 4::8]).ravel()
    return pixels.brightened(now, -int(np.sort(change)[len(change) // 2]))


def outside(level: Luma, before: Luma, side: int) -> Luma:
    """By how much each pixel is outside the range of values in its neighbourhood before."""
    over = pixels.above(level, pixels.grown(before, side))
    under = pixels.above(pixels.shrunk(before, side), level)
    return np.maximum(over, under)


def learn(average: Average, seen: NDArray[np.generic], share: np.float32 | Average) -> None:
    """Move a running average towards a picture by this share of the difference."""
    step = seen.astype(np.float32)
    step -= average
    step *= share
    average += step


def pace(gap_s: float, constant_s: float) -> float:
    """The share by which an average with this time constant moves in a number of seconds."""
    return 1.0 - math.exp(-gap_s / constant_s)


def _around(noise: Average) -> Average:
    """The mean of each pixel's cell."""
    height, width = noise.shape
    rows = np.add.reduceat(noise, np.arange(0, height, _NOISE_CELL), axis=0)
    cells = np.add.reduceat(rows, np.arange(0, width, _NOISE_CELL), axis=1)
    tall = np.diff(np.append(np.arange(0, height, _NOISE_CELL), height))
    wide = np.diff(np.append(np.arange(0, width, _NOISE_CELL), width))
    cells /= np.outer(tall, wide).astype(np.float32)
    spread: Average = np.repeat(np.repeat(cells, tall, axis=0), wide, axis=1)
    return spread


def _relit(background: Average, now: Luma) -> Average:
    before, after = background[4::8, 4::8].ravel(), now[4::8, 4::8].astype(np.float32).ravel()
    gain, offset = 1.0, float(np.median(after - before))
    for _ in range(3):
        # Moving things are outliers in the fit: fit again without the worst third.
        error = np.abs(gain * before + offset - after)
        fits = error <= np.partition(error, 2 * len(error) // 3)[2 * len(error) // 3]
        spread = float(np.var(before[fits]))
        if spread < 1.0:
            break
        mean_before, mean_after = float(before[fits].mean()), float(after[fits].mean())
        gain = float(np.mean((before[fits] - mean_before) * (after[fits] - mean_after))) / spread
        gain = min(max(gain, 0.2), 5.0)
        offset = mean_after - gain * mean_before
    relit: Average = np.clip(background * gain + offset, 0.0, 255.0).astype(np.float32)
    return relit
