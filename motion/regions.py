"""Classifies a region that differs from the background: an object, the place that one left, or only light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from motion import pixels
from motion.background import Background
from motion.look import Point
from motion.pixels import Luma, Mask, Patch, Window

_Levels = NDArray[np.float32]

_MARGIN_PX = 4
_EDGE_SHARE = 0.25  # of a region's contrast: the least gain or loss of contrast along its outline
_LIT_CORRELATION = 0.92
_LIT_TEXTURE = 5.0  # standard deviation in levels: on a plain surface, light and an object look the same
_DISPLACED_PX = 8
_DISPLACED_ERROR = 0.5  # of the difference: the most that may remain when its surroundings are shifted over it
_DISPLACED_TEXTURE, _DISPLACED_SPREAD = 0.6, 9.0  # deviation of the surroundings: as a share of the change, in levels
_DISPLACED_SAMPLE = 200  # about this many of its pixels are compared
_DOWN, _RIGHT = (
    steps.ravel() for steps in np.mgrid[-_DISPLACED_PX : _DISPLACED_PX + 1 : 2, -_DISPLACED_PX : _DISPLACED_PX + 1 : 2]
)
_DISPLACED_SHARE = 0.04  # of the picture: larger regions do not sway
_BEAM_SHARE = 0.02  # of the picture: the least that a beam of light covers
_BEAM_DARK = 90.0  # levels: in a brighter scene headlights do not show
_BEAM_BRIGHTER = 0.9  # of its pixels: a beam makes the rest no darker
_BEAM_DETAIL = 0.01  # of its pixels: the most that may have gained or lost detail; an object 0.05 or more
_DETAIL_PX = 7  # detail is what differs from the mean of this many pixels around
_DETAIL_FLOOR, _DETAIL_NOISE = 1.5, 2.5  # levels, and times the usual deviation: the detail that noise makes
_BLACK = 16.0  # the luma of black in video
_CORE_SHARE, _CORE_PX = (
    0.15,
    15,
)  # of the minimum region: what must exceed the full threshold; its reach
_GAP_PX = 7  # pixels that differ belong to one region if they are closer together than this
_FAR, _NEAR = 0.6, 1.6  # factors of the minimum region at the top and at the bottom of the picture


def min_area_px(share: float, window: Window, shape: tuple[int, int]) -> float:
    """The minimum region in pixels at its place in the picture: distant things are high up, and small."""
    height, width = shape
    foot = (window[1] + window[3]) / height
    return share * height * width * (_FAR + (_NEAR - _FAR) * foot)


def is_object(patch: Patch, now: Luma, background: Background) -> bool:
    """Whether its outline is in the picture but not in the background: an object is there."""
    added, contrast = _outline(patch, now, background)
    return added >= _EDGE_SHARE * contrast


def is_bare_again(patch: Patch, now: Luma, background: Background) -> bool:
    """Whether its outline is in the background but no longer in the picture: an object has left."""
    added, contrast = _outline(patch, now, background)
    return added <= -_EDGE_SHARE * contrast


def is_light(patch: Patch, now: Luma, background: Background) -> bool:
    """Whether it is the same surface in another light, or a beam of light that passes over it."""
    return is_lit(patch, now, background) or is_beam(patch, now, background)


def is_lit(patch: Patch, now: Luma, background: Background) -> bool:
    """Whether it is the same surface in another light: its texture is unchanged."""
    x, y, w, h = patch.window
    window = np.s_[y : y + h, x : x + w]
    before = background.average[window][patch.mask]
    after = now[window][patch.mask].astype(np.float32)
    spread = float(before.std())
    if spread < _LIT_TEXTURE + 2 * float(background.noise[window][patch.mask].mean()) or float(after.std()) < 1.0:
        return False
    return float(np.corrcoef(before, after)[0, 1]) > _LIT_CORRELATION


def is_beam(patch: Patch, now: Luma, background: Background) -> bool:
    """Whether it is a beam of light in the dark, as of headlights: large, brighter, and with no detail of its own.

    A beam is brighter in the middle than at its edge, so that the surface as a whole does not keep its texture as
    `is_lit` requires, but it adds no edge and hides none. An object does both.
    """
    x, y, w, h = patch.window
    if patch.area < _BEAM_SHARE * now.size:
        return False
    top, left = max(0, y - _DETAIL_PX), max(0, x - _DETAIL_PX)
    window = np.s_[top : y + h + _DETAIL_PX, left : x + w + _DETAIL_PX]
    before, after = background.average[window], now[window].astype(np.float32)
    inside = np.s_[y - top : y - top + h, x - left : x - left + w]
    dark, lit = before[inside][patch.mask], after[inside][patch.mask]
    if float(dark.mean()) > _BEAM_DARK or float(np.mean(lit > dark)) < _BEAM_BRIGHTER:
        return False
    # More light makes noise and detail stronger. Smoke makes detail weaker, and an object hides it.
    gain = np.clip((after - _BLACK) / np.maximum(before - _BLACK, 4.0), 1.0, 4.0)
    noise = _DETAIL_NOISE * background.noise[window]
    gained = _unexplained(after, before, 4.0) > _DETAIL_FLOOR + noise * np.sqrt(gain)
    lost = _unexplained(before, after, 1.0) > _DETAIL_FLOOR + noise
    strange = gained | lost
    strange_px = int(np.count_nonzero(strange[inside] & patch.mask))
    return strange_px < _BEAM_DETAIL * patch.area


def is_displaced(patch: Patch, now: Luma, background: Background) -> bool:
    """Whether it is the same thing, moved by a few pixels: leaves, a flag, balloons, a swaying mast."""
    x, y, w, h = patch.window
    if patch.area > _DISPLACED_SHARE * now.size:
        return False
    average, reach = background.average, _DISPLACED_PX
    rows, columns = np.nonzero(patch.mask)
    step = max(1, len(rows) // _DISPLACED_SAMPLE)
    rows, columns = rows[::step] + y, columns[::step] + x
    seen = now[rows, columns].astype(np.float32)
    stayed = float(np.abs(seen - average[rows, columns]).mean())
    around = average[max(0, y - reach) : y + h + reach, max(0, x - reach) : x + w + reach]
    if around.std() < max(_DISPLACED_TEXTURE * stayed, _DISPLACED_SPREAD):
        return False  # too plain for motion to show
    moved_rows = np.clip(rows + _DOWN[:, None], 0, now.shape[0] - 1)
    moved_columns = np.clip(columns + _RIGHT[:, None], 0, now.shape[1] - 1)
    errors = np.abs(average[moved_rows, moved_columns] - seen).mean(axis=1)
    return float(errors.min()) < _DISPLACED_ERROR * stayed


def components(changed: Mask, faint: Mask, min_px: float) -> list[Patch]:
    """Connected patches of at least half of `min_px`, with gaps of a few pixels closed.

    A patch has a core that changed, and extends around it over pixels that changed by half as much.
    """
    core_px = _CORE_SHARE * min_px
    if np.count_nonzero(changed) < core_px:
        return []
    near = pixels.grown(changed.view(np.uint8), _CORE_PX).view(np.bool_)
    whole = faint & near
    joined = pixels.shrunk(pixels.grown(whole.view(np.uint8), _GAP_PX), _GAP_PX).view(np.bool_)
    found = pixels.patches(joined, min_px / 2)
    return [p for p in found if np.count_nonzero(changed[window_of(p)] & p.mask) >= core_px]


def window_of(patch: Patch) -> tuple[slice, slice]:
    """A region's window, as an index into the picture."""
    x, y, w, h = patch.window
    return np.s_[y : y + h, x : x + w]


def watched(shape: tuple[int, int], masks: Sequence[Sequence[Point]]) -> Mask:
    """The pixels outside all masks, which are polygons in fractions of the frame."""
    found = np.ones(shape, np.bool_)
    for polygon in masks:
        found &= ~pixels.filled(shape, [(round(x * shape[1]), round(y * shape[0])) for x, y in polygon])
    return found


def _outline(patch: Patch, now: Luma, background: Background) -> tuple[float, float]:
    """By how many levels its outline is stronger than in the background, and by how many its inside differs."""
    height, width = now.shape
    x, y, w, h = patch.window
    top, left = max(0, y - _MARGIN_PX), max(0, x - _MARGIN_PX)
    window = np.s_[top : min(height, y + h + _MARGIN_PX), left : min(width, x + w + _MARGIN_PX)]
    seen, before = np.ascontiguousarray(now[window]), pixels.rounded(background.average[window])
    inside = np.zeros(seen.shape, np.uint8)
    inside[y - top : y - top + h, x - left : x - left + w] = patch.mask
    outline = (pixels.grown(inside, 3) - pixels.shrunk(inside, 3)).view(np.bool_)
    added = _range(seen)[outline].mean() - _range(before)[outline].mean()
    filled = inside.view(np.bool_)
    contrast = np.abs(seen[filled].astype(np.float32) - before[filled]).mean()
    return float(added), float(contrast)


def _range(picture: Luma) -> _Levels:
    return (pixels.grown(picture, 3) - pixels.shrunk(picture, 3)).astype(np.float32)


def _unexplained(picture: _Levels, other: _Levels, most: float) -> _Levels:
    """The deviation of a picture's detail around each pixel, less what another picture explains.

    The other's detail counts at most `most` times as strong.
    """
    own, others = picture - _mean(picture), other - _mean(other)
    of_both, of_other = _mean(own * others), _mean(others * others)
    share = np.clip(of_both / np.maximum(of_other, np.float32(0.25)), 0.0, most)
    rest = _mean(own * own) - 2 * share * of_both + share * share * of_other
    return np.sqrt(np.maximum(rest, np.float32(0.0)))


def _mean(picture: _Levels) -> _Levels:
    """The mean of the `_DETAIL_PX` x `_DETAIL_PX` pixels around each; edges are repeated."""
    side = _DETAIL_PX
    sums = np.pad(picture, ((side // 2 + 1, side // 2), (side // 2 + 1, side // 2)), "edge")
    sums[0] = 0.0
    sums[:, 0] = 0.0
    sums = sums.cumsum(0, np.float64).cumsum(1)
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    mean: _Levels = (total / side**2).astype(np.float32)
    return mean
