"""The motion gate: small luma pictures in, regions that really move out; pure, no camera and no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2 as opencv
import numpy as np
from numpy.typing import NDArray

from functions.event import Box

Luma = NDArray[np.uint8]
cv2: Any = opencv  # its stubs know neither element types nor scalar operands
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
_AROUND = np.ones((9, 9), np.uint8)  # by how much a region may have gone on between two looks
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
        now = cv2.blur(np.ascontiguousarray(luma[::step, ::step]), (3, 3))
        if min(now.shape) < _MIN_SIDE:
            return []
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
            self._watched_px = max(1, cv2.countNonZero(self._watched))
            self._overlay = _OverlayMemory((height, width))
            self._noise = np.full(now.shape, 1.0, np.float32)
        self._background = now.astype(np.float32)
        self._earlier = [now, now]
        self._candidates = np.zeros(now.shape, np.uint8)
        self._at_s = self._reset_at_s = at_s

    def _look(self, now: Luma, gap_s: float) -> list[Box]:
        difference = _outside(now, cv2.convertScaleAbs(self._background), 5)
        changed = self._changed(difference)
        share = cv2.countNonZero(changed) / self._watched_px
        if share > _RELIGHT_SHARE:
            relit = _relit(self._background, now)
            difference_relit = _outside(now, cv2.convertScaleAbs(relit), 5)
            changed_relit = self._changed(difference_relit)
            if cv2.countNonZero(changed_relit) < _RELIGHT_GAIN * share * self._watched_px:
                difference, changed, self._background = difference_relit, changed_relit, relit
                share = cv2.countNonZero(changed) / self._watched_px
        if share > _RECALIBRATE_SHARE and self._at_s - self._reset_at_s > _RECALIBRATE_REST_S:
            self._start(now, self._at_s)
            return []
        regions = [] if self.is_calibrating else self._regions(now, changed)
        self._learn(now, difference, changed, gap_s)
        self._earlier = [self._earlier[1], now]
        return regions

    def _changed(self, difference: Luma) -> Luma:
        usual = cv2.min(self._noise, _NOISE_CAP)
        bar = cv2.convertScaleAbs(usual, alpha=_NOISE_GAIN, beta=self._settings.threshold)
        masked: Luma = cv2.bitwise_and(cv2.compare(difference, bar, cv2.CMP_GT), self._watched)
        return masked

    def _regions(self, now: Luma, changed: Luma) -> list[Box]:
        height, width = self._shape
        min_px = self._settings.min_area * height * width
        candidates = np.zeros(self._shape, np.uint8)
        patches = list(_components(changed, min_px))
        # Where the picture moved since two looks ago; asked only where something differs at all.
        fresh = _outside(now, self._earlier[0], 3) > self._settings.threshold / 2 if patches else candidates
        ignored = self._overlay.ignored
        kept: list[tuple[int, Box]] = []
        for area, (x, y, w, h), here in patches:
            window = np.s_[y : y + h, x : x + w]
            moving = int(np.count_nonzero(fresh[window] & here))
            if moving < max(_FRESH_SHARE * area, _FRESH_MIN * min_px):
                continue
            candidates[window] |= here
            if int(np.count_nonzero((ignored[window] > 0) & here)) > _IGNORED_SHARE * area:
                continue
            if np.any((self._candidates[window] > 0) & here):
                kept.append((area, Box(x / width, y / height, (x + w) / width, (y + h) / height)))
        self._overlay.see(candidates, self._at_s)
        self._candidates = cv2.dilate(candidates, _AROUND)
        return [box for _, box in sorted(kept, key=lambda pair: pair[0], reverse=True)[:_REGIONS]]

    def _learn(self, now: Luma, difference: Luma, changed: Luma, gap_s: float) -> None:
        if self.is_calibrating:
            cv2.accumulateWeighted(now, self._background, _FIRST_PACE)
            cv2.accumulateWeighted(difference, self._noise, _FIRST_PACE)
            return
        still = cv2.bitwise_not(changed)
        cv2.accumulateWeighted(now, self._background, _pace(gap_s, _BACKGROUND_S), mask=still)
        cv2.accumulateWeighted(now, self._background, _pace(gap_s, _OBJECT_S), mask=changed)
        cv2.accumulateWeighted(difference, self._noise, _pace(gap_s, _NOISE_S))


class _OverlayMemory:
    """Learns small patches that change in every second: clocks, blinking lamps, a scrolling text."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._cells = (math.ceil(shape[0] / _CELL), math.ceil(shape[1] / _CELL))
        self._heat = np.zeros(self._cells, np.float32)
        self._active = np.zeros(self._cells, np.uint8)
        self._learned = np.zeros(self._cells, np.uint8)
        self._bin = -1
        self.ignored: Luma = np.zeros(shape, np.uint8)

    def see(self, candidates: Luma, at_s: float) -> None:
        current = math.floor(at_s / _OVERLAY_BIN_S)
        if current != self._bin:
            self._bin = current
            self._close_bin()
        x, y, w, h = cv2.boundingRect(candidates)
        if not w:
            return
        left, top = x // _CELL, y // _CELL
        part = candidates[top * _CELL : y + h, left * _CELL : x + w]
        rows = np.maximum.reduceat(part, np.arange(0, part.shape[0], _CELL), axis=0)
        cells = np.maximum.reduceat(rows, np.arange(0, part.shape[1], _CELL), axis=1)
        self._active[top : top + cells.shape[0], left : left + cells.shape[1]] |= cells

    def _close_bin(self) -> None:
        cv2.accumulateWeighted(self._active.astype(np.float32), self._heat, _pace(_OVERLAY_BIN_S, _OVERLAY_S))
        self._active[:] = 0
        bar = np.where(self._learned == 1, _OVERLAY_OFF, _OVERLAY_ON)
        hot = (self._heat > bar).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
        big = _OVERLAY_SHARE * self._cells[0] * self._cells[1]
        for label in range(1, count):
            if stats[label, cv2.CC_STAT_AREA] > big:
                hot[labels == label] = 0
        self._learned = hot
        around = cv2.dilate(hot, np.ones((3, 3), np.uint8))
        self.ignored = np.kron(around, np.ones((_CELL, _CELL), np.uint8))[: self._shape[0], : self._shape[1]]


def _components(changed: Luma, min_px: float) -> Iterator[tuple[int, tuple[int, int, int, int], NDArray[np.bool_]]]:
    """Connected patches of at least `min_px`: area, (x, y, width, height), and its pixels in that window."""
    if cv2.countNonZero(changed) < _FRESH_MIN * min_px:  # closing gaps cannot make so little enough
        return
    joined = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    left, top, width, height = cv2.boundingRect(joined)
    if width * height < min_px:
        return
    part = joined[top : top + height, left : left + width]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8, ltype=cv2.CV_16U)
    for label in range(1, count):
        x, y, w, h, area = (int(value) for value in stats[label])
        if area >= min_px:
            yield area, (left + x, top + y, w, h), labels[y : y + h, x : x + w] == label


def _outside(now: Luma, before: Luma, side: int) -> Luma:
    """By how much each pixel leaves the range of values that stood around it before, light put aside."""
    change = (now[4::8, 4::8].astype(np.int16) - before[4::8, 4::8]).ravel()
    brighter = int(np.partition(change, len(change) // 2)[len(change) // 2])
    level = cv2.subtract(now, brighter) if brighter > 0 else cv2.add(now, -brighter)
    kernel = np.ones((side, side), np.uint8)
    over = cv2.subtract(level, cv2.dilate(before, kernel))
    under = cv2.subtract(cv2.erode(before, kernel), level)
    outside: Luma = cv2.max(over, under)
    return outside


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


def _watched(shape: tuple[int, int], masks: Sequence[Sequence[Point]]) -> Luma:
    watched = np.full(shape, 255, np.uint8)
    for polygon in masks:
        corners = np.array([(x * shape[1], y * shape[0]) for x, y in polygon])
        cv2.fillPoly(watched, [np.round(corners).astype(np.int32)], 0)
    return watched


def _pace(gap_s: float, constant_s: float) -> float:
    return 1.0 - math.exp(-gap_s / constant_s)
