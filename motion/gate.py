"""The motion gate: small luma pictures in, regions that really move out; pure, no camera and no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functions.event import Box
from motion import pixels
from motion.pixels import Luma, Mask, Patch

Point = tuple[float, float]

CALIBRATION_S = 1.0
_WORK_WIDTH = 400  # a luma wider or higher than this is strided down: the guards below are tuned for about 320x180
_MIN_SIDE = 24  # nothing can be told apart in less
_GAP_S = 5.0  # after a longer pause the old background is no witness any more
_BACKGROUND_S = 6.0  # time constant of the running average where nothing moves ...
_OBJECT_S = 30.0  # ... and where something does, so that a waiting person does not melt in at once
_NOISE_S = 8.0
_NOISE_GAIN = 2.5  # a pixel counts only if it differs by so many times what it usually differs by
_NOISE_CAP = 24.0
_FIRST_PACE = 1 / 3  # share of a look that enters the background while calibrating
_RELIGHT_SHARE, _RELIGHT_GAIN = 0.1, 0.3  # so much change is worth asking if contrast changed, which must explain most
_RECALIBRATE_SHARE = 0.5  # more of the picture than this never moves at once: that is light, a shake or a new scene
_RECALIBRATE_REST_S = (
    5.0  # a picture that keeps changing as a whole is let through: better a false burst than a blind camera
)
_FRESH_SHARE, _FRESH_MIN = 0.05, 0.3  # of the region, and of the least region: what must have moved since two looks ago
_IGNORED_SHARE = 0.7
_REGIONS = 8
_AROUND_PX = 9  # by how much a region may have gone on between two looks
_GAP_PX = 7  # pixels that differ are one region where they are nearer to each other than this
_CELL = 8  # side in px of the cells in which overlays are learned
_OVERLAY_S = 10.0  # time constant of how often a cell changes; one that always does is learned in twice this
_OVERLAY_ON, _OVERLAY_OFF = 0.8, 0.4
_OVERLAY_BIN_S = 1.2  # a clock ticks in each of these
_OVERLAY_SHARE = 0.02  # a bigger patch that changes all the time is a street, not a clock


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What one camera asks of its gate."""

    sensitivity: float = 0.5
    """0 sees only what is big and plain, 1 also what is tiny or faint."""
    masks: tuple[tuple[Point, ...], ...] = ()
    """Polygons in fractions of the frame inside which nothing is looked at."""

    @property
    def threshold(self) -> float:
        """Levels of 255 by which a pixel must leave its background: 34 at 0, 22 in the middle, 10 at 1."""
        return 34.0 - 24.0 * self.sensitivity

    @property
    def min_area(self) -> float:
        """Share of the frame that a region must cover: 0.4 % at 0, 0.1 % in the middle, 0.025 % at 1."""
        return float(0.004 * math.pow(16.0, -self.sensitivity))


class Gate:
    """Watches one camera. A running average is the background; what differs is doubted in turn.

    A pixel must leave the range of its background's neighbourhood (texture that sways or shakes by a pixel does not)
    by more than a threshold and than what it usually differs by (noise, leaves). A region must be big enough, still be
    changing (what stands or what light left behind is not), stay for two looks, and be no overlay: a small patch that
    changes all the time. A change of most of the picture at once is light: the gate starts over.
    """

    def __init__(self, settings: GateSettings | None = None) -> None:
        self._settings = settings or GateSettings()
        self._shape: tuple[int, int] = (0, 0)
        self._at_s = -math.inf
        self._reset_at_s = -math.inf

    @property
    def is_calibrating(self) -> bool:
        """Whether the background is still being learned, so that nothing is reported yet."""
        return self._at_s - self._reset_at_s < CALIBRATION_S

    def see(self, luma: Luma, at_s: float) -> list[Box]:
        """Take one look, about five a second.

        Args:
            luma: brightness, uint8, shape (H, W); about 320 px wide is enough.
            at_s: when it was captured, seconds on any steady clock.

        Returns:
            Moving regions, largest first, at most eight; empty while calibrating or for a picture too small to judge.

        Raises:
            ValueError: not a 2-d uint8 array.
        """
        if luma.ndim != 2 or luma.dtype != np.uint8:
            raise ValueError(f"luma must be uint8 of shape (H, W), got {luma.dtype} of shape {luma.shape}")
        step = max(1, math.ceil(max(luma.shape) / _WORK_WIDTH))
        looked = luma[::step, ::step]
        if min(looked.shape) < _MIN_SIDE:
            return []
        now = pixels.blur(looked)
        gap_s = at_s - self._at_s
        if now.shape != self._shape or not 0 <= gap_s <= _GAP_S:
            self._start(now, at_s)
            return []
        self._at_s = at_s
        return self._look(now, gap_s)

    def _start(self, now: Luma, at_s: float) -> None:
        if now.shape != self._shape:
            height, width = self._shape = (now.shape[0], now.shape[1])
            self._watched = _watched(self._shape, self._settings.masks)
            self._watched_px = max(1, int(np.count_nonzero(self._watched)))
            self._overlay = _OverlayMemory((height, width))
            self._noise = np.full(now.shape, 1.0, np.float32)
        self._background = now.astype(np.float32)
        self._earlier = [now, now]
        self._candidates = np.zeros(now.shape, np.bool_)
        self._at_s = self._reset_at_s = at_s

    def _look(self, now: Luma, gap_s: float) -> list[Box]:
        difference = _outside(now, pixels.rounded(self._background), 5)
        changed = self._changed(difference)
        share = np.count_nonzero(changed) / self._watched_px
        if share > _RELIGHT_SHARE:
            relit = _relit(self._background, now)
            difference_relit = _outside(now, pixels.rounded(relit), 5)
            changed_relit = self._changed(difference_relit)
            if np.count_nonzero(changed_relit) < _RELIGHT_GAIN * share * self._watched_px:
                difference, changed, self._background = difference_relit, changed_relit, relit
                share = np.count_nonzero(changed) / self._watched_px
        if share > _RECALIBRATE_SHARE and self._at_s - self._reset_at_s > _RECALIBRATE_REST_S:
            self._start(now, self._at_s)
            return []
        regions = [] if self.is_calibrating else self._regions(now, changed)
        self._learn(now, difference, changed, gap_s)
        self._earlier = [self._earlier[1], now]
        return regions

    def _changed(self, difference: Luma) -> Mask:
        bar = np.minimum(self._noise, np.full_like(self._noise, _NOISE_CAP))
        bar *= np.float32(_NOISE_GAIN)
        bar += np.float32(self._settings.threshold)
        return (difference > pixels.rounded(bar)) & self._watched

    def _regions(self, now: Luma, changed: Mask) -> list[Box]:
        height, width = self._shape
        min_px = self._settings.min_area * height * width
        candidates = np.zeros(self._shape, np.bool_)
        patches = _components(changed, min_px)
        # Where the picture moved since two looks ago; asked only where something differs at all.
        fresh = _outside(now, self._earlier[0], 3) > np.uint8(self._settings.threshold / 2) if patches else candidates
        ignored = self._overlay.ignored
        kept: list[tuple[int, Box]] = []
        for patch in patches:
            (x, y, w, h), here, area = patch.window, patch.mask, patch.area
            window = np.s_[y : y + h, x : x + w]
            moving = int(np.count_nonzero(fresh[window] & here))
            if moving < max(_FRESH_SHARE * area, _FRESH_MIN * min_px):
                continue
            candidates[window] |= here
            if int(np.count_nonzero(ignored[window] & here)) > _IGNORED_SHARE * area:
                continue
            if np.any(self._candidates[window] & here):
                kept.append((area, Box(x / width, y / height, (x + w) / width, (y + h) / height)))
        self._overlay.see(candidates, self._at_s)
        self._candidates = pixels.grown(candidates.view(np.uint8), _AROUND_PX).view(np.bool_)
        return [box for _, box in sorted(kept, key=lambda pair: pair[0], reverse=True)[:_REGIONS]]

    def _learn(self, now: Luma, difference: Luma, changed: Mask, gap_s: float) -> None:
        if self.is_calibrating:
            _learn(self._background, now, np.float32(_FIRST_PACE))
            _learn(self._noise, difference, np.float32(_FIRST_PACE))
            return
        pace = changed.astype(np.float32)
        pace *= np.float32(_pace(gap_s, _OBJECT_S) - _pace(gap_s, _BACKGROUND_S))
        pace += np.float32(_pace(gap_s, _BACKGROUND_S))
        _learn(self._background, now, pace)
        _learn(self._noise, difference, np.float32(_pace(gap_s, _NOISE_S)))


class _OverlayMemory:
    """Learns small patches that change in every second: clocks, blinking lamps, a scrolling text."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._cells = (math.ceil(shape[0] / _CELL), math.ceil(shape[1] / _CELL))
        self._heat = np.zeros(self._cells, np.float32)
        self._active = np.zeros(self._cells, np.bool_)
        self._learned = np.zeros(self._cells, np.bool_)
        self._bin = -1
        self.ignored: Mask = np.zeros(shape, np.bool_)

    def see(self, candidates: Mask, at_s: float) -> None:
        current = math.floor(at_s / _OVERLAY_BIN_S)
        if current != self._bin:
            self._bin = current
            self._close_bin()
        x, y, w, h = pixels.bounds(candidates)
        if not w:
            return
        left, top = x // _CELL, y // _CELL
        part = candidates[top * _CELL : y + h, left * _CELL : x + w]
        rows = np.logical_or.reduceat(part, np.arange(0, part.shape[0], _CELL), axis=0)
        cells = np.logical_or.reduceat(rows, np.arange(0, part.shape[1], _CELL), axis=1)
        self._active[top : top + cells.shape[0], left : left + cells.shape[1]] |= cells

    def _close_bin(self) -> None:
        _learn(self._heat, self._active, np.float32(_pace(_OVERLAY_BIN_S, _OVERLAY_S)))
        self._active[:] = False
        hot = self._heat > np.where(self._learned, _OVERLAY_OFF, _OVERLAY_ON)
        big = _OVERLAY_SHARE * self._cells[0] * self._cells[1]
        for patch in pixels.patches(hot, big):
            if patch.area > big:
                x, y, w, h = patch.window
                hot[y : y + h, x : x + w] &= ~patch.mask
        self._learned = hot
        around = pixels.grown(hot.view(np.uint8), 3).view(np.bool_)
        self.ignored = np.kron(around, np.ones((_CELL, _CELL), np.bool_))[: self._shape[0], : self._shape[1]]


def _components(changed: Mask, min_px: float) -> list[Patch]:
    """Connected patches of at least `min_px`, gaps of a few pixels closed."""
    if np.count_nonzero(changed) < _FRESH_MIN * min_px:  # closing gaps cannot make so little enough
        return []
    joined = pixels.shrunk(pixels.grown(changed.view(np.uint8), _GAP_PX), _GAP_PX).view(np.bool_)
    return pixels.patches(joined, min_px)


def _outside(now: Luma, before: Luma, side: int) -> Luma:
    """By how much each pixel leaves the range of values that stood around it before, light put aside."""
    change = (now[4::8, 4::8].astype(np.int16) - before[4::8, 4::8]).ravel()
    brighter = int(np.sort(change)[len(change) // 2])
    level = pixels.brightened(now, -brighter)
    over = pixels.above(level, pixels.grown(before, side))
    under = pixels.above(pixels.shrunk(before, side), level)
    return np.maximum(over, under)


def _learn(average: NDArray[np.float32], seen: Luma | Mask, pace: np.float32 | NDArray[np.float32]) -> None:
    """Move a running average towards what is seen, by this share of the way."""
    step = seen.astype(np.float32)
    step -= average
    step *= pace
    average += step


def _relit(background: NDArray[np.float32], now: Luma) -> NDArray[np.float32]:
    """The background as it would look now if only brightness and contrast had changed."""
    before, after = background[4::8, 4::8].ravel(), now[4::8, 4::8].astype(np.float32).ravel()
    gain, offset = 1.0, float(np.median(after - before))
    for _ in range(3):
        # What moves is an outlier to the light: fit again without the worst third.
        error = np.abs(gain * before + offset - after)
        fits = error <= np.partition(error, 2 * len(error) // 3)[2 * len(error) // 3]
        spread = float(np.var(before[fits]))
        if spread < 1.0:
            break
        mean_before, mean_after = float(before[fits].mean()), float(after[fits].mean())
        gain = float(np.mean((before[fits] - mean_before) * (after[fits] - mean_after))) / spread
        gain = min(max(gain, 0.2), 5.0)
        offset = mean_after - gain * mean_before
    relit: NDArray[np.float32] = np.clip(background * gain + offset, 0.0, 255.0).astype(np.float32)
    return relit


def _watched(shape: tuple[int, int], masks: Sequence[Sequence[Point]]) -> Mask:
    watched = np.ones(shape, np.bool_)
    for polygon in masks:
        watched &= ~pixels.filled(shape, [(round(x * shape[1]), round(y * shape[0])) for x, y in polygon])
    return watched


def _pace(gap_s: float, constant_s: float) -> float:
    return 1.0 - math.exp(-gap_s / constant_s)
