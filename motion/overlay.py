"""Learns small patches that change every second, such as clocks, so that the gate can ignore them."""

from __future__ import annotations

import math

import numpy as np

from motion import pixels
from motion.background import learn, pace
from motion.pixels import Mask

_CELL = 8  # side in px of the cells in which overlays are learned
_OVERLAY_S = 10.0  # time constant of a cell's rate of change; one that always changes is learned in twice this
_OVERLAY_ON, _OVERLAY_OFF = 0.8, 0.4
_BIN_S = 1.2  # a clock ticks at least once in each bin
_OVERLAY_SHARE = 0.02  # a bigger patch that changes all the time is a street, not a clock


class OverlayMemory:
    """Learns clocks, blinking lamps and scrolling text."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._cells = (math.ceil(shape[0] / _CELL), math.ceil(shape[1] / _CELL))
        self._heat = np.zeros(self._cells, np.float32)
        self._active = np.zeros(self._cells, np.bool_)
        self._learned = np.zeros(self._cells, np.bool_)
        self._bin_at_s = -math.inf
        self.ignored: Mask = np.zeros(shape, np.bool_)

    def update(self, candidates: Mask, at_s: float) -> None:
        """Learn which pixels changed at this look; if looks are rare, each counts as its own second."""
        gap_s = at_s - self._bin_at_s
        if not 0 <= gap_s < _BIN_S:
            if 0 <= gap_s < math.inf:
                self._close_bin(gap_s)
            self._bin_at_s = at_s
        x, y, w, h = pixels.bounds(candidates)
        if not w:
            return
        left, top = x // _CELL, y // _CELL
        part = candidates[top * _CELL : y + h, left * _CELL : x + w]
        rows = np.logical_or.reduceat(part, np.arange(0, part.shape[0], _CELL), axis=0)
        cells = np.logical_or.reduceat(rows, np.arange(0, part.shape[1], _CELL), axis=1)
        self._active[top : top + cells.shape[0], left : left + cells.shape[1]] |= cells

    def _close_bin(self, lasted_s: float) -> None:
        learn(self._heat, self._active, np.float32(pace(min(lasted_s, 2 * _BIN_S), _OVERLAY_S)))
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
