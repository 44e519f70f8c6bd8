"""The motion gate: finds the regions of small luma pictures that really move. Pure: without a camera or a clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from functions.event import Box
from motion import pixels
from motion.background import Background, levelled, outside, prepared
from motion.look import GateSettings, Look, Reason, Rejected
from motion.overlay import OverlayMemory
from motion.pixels import Luma, Mask, Patch
from motion.regions import (
    components,
    is_bare_again,
    is_displaced,
    is_light,
    is_object,
    min_area_px,
    watched,
    window_of,
)
from motion.weather import Precipitation

_Verdict = Literal["moving", "standing"] | Reason

CALIBRATION_S = 1.0
_GAP_S = 12.0  # after a longer pause the old background is useless
# From this change on, a change of contrast is tried; it must explain most of it.
_RELIGHT_SHARE, _RELIGHT_GAIN = 0.1, 0.3
_RECALIBRATE_SHARE = 0.5  # more than this never moves at once: it is light, a shake or a new scene
# A picture that keeps changing as a whole is reported: a false burst is better than a blind camera.
_RECALIBRATE_REST_S = 5.0
# Of the region, of the minimum region: what must have moved since two looks ago.
_FRESH_SHARE, _FRESH_MIN = 0.05, 0.3
_HISTORY = 5  # looks that are kept to find what moved: slow motion shows against the oldest, a second ago
_LOOKS, _LARGE = 2, 4.0  # a large region, this many times the minimum, must last this many looks ...
_LOOKS_SMALL, _LOOKS_EDGE = 3, 4  # ... a small one more, one at the edge still more ...
_LOOKS_RAIN = 6  # ... a small one in rain or snow, where drops fall on the same place by chance, most of all ...
_LOOKS_SWAYING, _SWAY_S = 6, 30.0  # ... with one where something swayed recently
_AGE_CAP = 200
_IGNORED_SHARE = 0.7
_STANDING_SHARE = 0.4  # of a region, where something moved before
_REGIONS = 8
_AROUND_PX = 9  # the most that a region may have moved between two looks


class Gate:
    """Watches one camera. A running average is the background; each region that differs must pass several checks.

    A pixel must be outside the range of its background's neighbourhood (texture that sways by a pixel is not) by more
    than a threshold that depends on its brightness and noise. A region must be large enough, still be changing or have
    appeared recently, last for two looks, not be the same surface in another light, and not be an overlay: a small
    patch that changes all the time. If most of the picture changes at once, that is light, and the gate starts over.
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

    def detect(self, luma: Luma, at_s: float) -> list[Box]:
        """Process one look, and return the regions that move, or are new and stand still; see `look`."""
        return self.look(luma, at_s).regions

    def look(self, luma: Luma, at_s: float) -> Look:
        """Process one look, about five a second.

        Args:
            luma: brightness, uint8, shape (H, W); about 320 px wide is enough.
            at_s: when it was captured, seconds on any monotonic clock.

        Returns:
            The regions that move, that stand and that were rejected; empty while calibrating, or if it is too small.

        Raises:
            ValueError: not a 2-d uint8 array.
        """
        now = prepared(luma)
        if now is None:
            return Look()
        gap_s = at_s - self._at_s
        if now.shape != self._shape or not 0 <= gap_s <= _GAP_S:
            self._start(now, at_s)
            return Look()
        self._at_s = at_s
        return self._compare(now, gap_s)

    def _start(self, now: Luma, at_s: float) -> None:
        if now.shape != self._shape:
            settings = self._settings
            self._shape = (now.shape[0], now.shape[1])
            self._watched = watched(self._shape, settings.masks)
            self._watched_px = max(1, int(np.count_nonzero(self._watched)))
            self._overlay = OverlayMemory(self._shape)
            self._weather = Precipitation()
            self._background = Background(now, settings.floor, settings.weber, settings.noise_gain)
        self._background.start(now)
        self._earlier = [now] * _HISTORY
        self._ages = np.zeros(now.shape, np.uint8)
        self._moved_at_s = np.full(now.shape, -math.inf, np.float32)
        self._swayed_at_s = np.full(now.shape, -math.inf, np.float32)
        self._began_at_s = at_s
        self._at_s = self._reset_at_s = at_s

    def glance(self, luma: Luma, at_s: float) -> bool:
        """Check one picture of a quiet camera, while only its key frames are decoded.

        Returns:
            Whether something may be moving. Then nothing has been learned from this picture, so the gate can process
            the pictures that led to it, from the last glance on.
        """
        now = prepared(luma)
        gap_s = at_s - self._at_s
        if now is None:
            return False
        if now.shape != self._shape or not 0 <= gap_s <= _GAP_S or self.is_calibrating:
            return True
        at_before_s, self._at_s = self._at_s, at_s
        bar = self._background.bar(at_s)
        seen = self._differing(now, bar)
        overlays = np.zeros(self._shape, np.bool_)
        patches = components(seen.changed, seen.faint, self._settings.min_area * now.size)
        if seen.share > _RECALIBRATE_SHARE or any(self._is_suspicious(p, now, overlays) for p in patches):
            self._at_s = at_before_s
            return True
        self._overlay.update(overlays, at_s)
        self._learn(now, seen, gap_s)
        return False

    def _is_suspicious(self, patch: Patch, now: Luma, overlays: Mask) -> bool:
        if patch.area < min_area_px(self._settings.min_area, patch.window, self._shape):
            return False
        if self._is_overlay(patch):
            overlays[window_of(patch)] |= patch.mask
            return False
        return not (is_light(patch, now, self._background) or is_displaced(patch, now, self._background))

    def _compare(self, now: Luma, gap_s: float) -> Look:
        bar = self._background.bar(self._at_s)
        seen = self._differing(now, bar)
        if seen.share > _RECALIBRATE_SHARE and self._at_s - self._reset_at_s > _RECALIBRATE_REST_S:
            self._start(now, self._at_s)
            return Look()
        look = Look() if self.is_calibrating else self._judge(now, seen, bar)
        self._weather.update(look.rejected, gap_s)
        self._learn(now, seen, gap_s)
        return look

    def _differing(self, now: Luma, bar: Luma) -> _Differing:
        """Where a look differs from the background; the background is relit first if that explains most of it."""
        background = self._background
        seen = self._against(pixels.rounded(background.average), now, bar)
        if seen.share > _RELIGHT_SHARE:
            average = background.relit(now)
            relit = self._against(pixels.rounded(average), now, bar)
            if relit.share < _RELIGHT_GAIN * seen.share:
                background.average = average
                return relit
        return seen

    def _against(self, before: Luma, now: Luma, bar: Luma) -> _Differing:
        level = levelled(now, before)
        difference = outside(level, before, 5)
        changed = (difference > bar) & self._watched
        faint = (difference > bar // 2) & self._watched
        return _Differing(level, changed, faint, float(np.count_nonzero(changed)) / self._watched_px)

    def _learn(self, now: Luma, seen: _Differing, gap_s: float) -> None:
        if self.is_calibrating:
            self._background.learn_first(now, seen.level)
        else:
            held = self._now_s - self._moved_at_s < self._settings.standing_s
            self._background.learn(now, seen.level, seen.changed, held, gap_s)
        self._earlier = [*self._earlier[1:], now]

    @property
    def _now_s(self) -> np.float32:
        """Seconds since the gate started, for which single precision is enough."""
        return np.float32(self._at_s - self._began_at_s)

    def _judge(self, now: Luma, seen: _Differing, bar: Luma) -> Look:
        patches = components(seen.changed, seen.faint, self._settings.min_area * now.size)
        moving: list[tuple[int, Box]] = []
        standing: list[tuple[int, Box]] = []
        rejected: list[Rejected] = []
        candidates = np.zeros(self._shape, np.bool_)
        self._ages_now = np.zeros(self._shape, np.uint8)
        fresh = self._fresh(now, bar) if patches else candidates
        for patch in patches:
            verdict = self._verdict(patch, now, fresh, candidates)
            if verdict == "moving":
                moving.append((patch.area, self._box(patch)))
            elif verdict == "standing":
                standing.append((patch.area, self._box(patch)))
            else:
                rejected.append(Rejected(self._box(patch), verdict))
        self._overlay.update(candidates, self._at_s)
        self._ages = pixels.grown(self._ages_now, _AROUND_PX)
        return Look(_largest(moving), _largest(standing), tuple(rejected[:_REGIONS]))

    def _fresh(self, now: Luma, bar: Luma) -> Mask:
        """Where the picture moved: since two looks ago by half the threshold, since a second ago by all of it."""
        before, long_before = self._earlier[-2], self._earlier[0]
        quick = outside(levelled(now, before), before, 3) > bar // 2
        slow: Mask = outside(levelled(now, long_before), long_before, 3) > bar
        return quick | slow

    def _verdict(self, patch: Patch, now: Luma, fresh: Mask, candidates: Mask) -> _Verdict:
        """Classify a region; marks it in `candidates` if it moves."""
        here, window = patch.mask, window_of(patch)
        least_px = min_area_px(self._settings.min_area, patch.window, self._shape)
        if patch.area < least_px:
            return "too small"
        moving_px = int(np.count_nonzero(fresh[window] & here))
        if moving_px < max(_FRESH_SHARE * patch.area, _FRESH_MIN * least_px):
            return self._verdict_at_rest(patch, now)
        candidates[window] |= here
        if self._is_overlay(patch):
            return "overlay"
        if is_displaced(patch, now, self._background):
            self._swayed_at_s[window][here] = self._now_s
            return "sway"
        return self._verdict_moving(patch, now, least_px)

    def _verdict_moving(self, patch: Patch, now: Luma, least_px: float) -> _Verdict:
        here, window = patch.mask, window_of(patch)
        age = 1 + int(self._ages[window][here].max())
        self._ages_now[window][here] = min(age, _AGE_CAP)
        if age < self._looks_needed(patch, least_px):
            return "seen once"
        if is_light(patch, now, self._background):
            return "light"
        self._moved_at_s[window][here] = self._now_s
        return "moving"

    def _is_overlay(self, patch: Patch) -> bool:
        return int(np.count_nonzero(self._overlay.ignored[window_of(patch)] & patch.mask)) > _IGNORED_SHARE * patch.area

    def _looks_needed(self, patch: Patch, least_px: float) -> int:
        """For how many looks a region must last before it is accepted."""
        (x, y, w, h), (height, width) = patch.window, self._shape
        at_edge = x == 0 or y == 0 or x + w == width or y + h == height
        if not at_edge and self._swayed_lately(patch):
            return _LOOKS_SWAYING
        if patch.area > _LARGE * least_px:
            return _LOOKS
        return _LOOKS_RAIN if self._weather.is_falling else _LOOKS_EDGE if at_edge else _LOOKS_SMALL

    def _swayed_lately(self, patch: Patch) -> bool:
        swayed_s = self._now_s - self._swayed_at_s[window_of(patch)][patch.mask]
        return int(np.count_nonzero(swayed_s < _SWAY_S)) > patch.area / 2

    def _verdict_at_rest(self, patch: Patch, now: Luma) -> _Verdict:
        """Classify a region that differs but does not move; one that is known or has left becomes part of the scene."""
        window = window_of(patch)
        since_s = self._now_s - self._moved_at_s[window][patch.mask]
        moved = np.isfinite(since_s)
        if int(np.count_nonzero(moved)) < _STANDING_SHARE * patch.area:
            return "still"
        is_known = float(np.median(since_s[moved])) >= self._settings.standing_s
        if not is_known and is_object(patch, now, self._background):
            sways = self._swayed_lately(patch) or is_displaced(patch, now, self._background)
            return "sway" if sways else "standing"
        if is_known or is_bare_again(patch, now, self._background):
            everywhere = np.zeros(self._shape, np.bool_)
            everywhere[window] = patch.mask
            self._background.accept(now, everywhere)
            self._moved_at_s[everywhere] = -math.inf
        return "still"

    def _box(self, patch: Patch) -> Box:
        (x, y, w, h), (height, width) = patch.window, self._shape
        return Box(x / width, y / height, (x + w) / width, (y + h) / height)


@dataclass(frozen=True, slots=True)
class _Differing:
    level: Luma
    """The look, adjusted to the background's light."""
    changed: Mask
    faint: Mask
    """Where it differs by half the threshold or more."""
    share: float
    """Share of the watched picture that changed."""


def _largest(found: list[tuple[int, Box]]) -> tuple[Box, ...]:
    return tuple(box for _, box in sorted(found, key=lambda pair: pair[0], reverse=True)[:_REGIONS])
