"""Decodes the outputs of detection networks; `choose_head` finds out from a file's facts which kind it has.

`models/network.py` calls it. Our own exports leave the decoding of boxes out of the network (`GridHead`), as few of its
thousands of cells hold an object. The other heads read what standard exports of other networks give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from models.backends import Floats
from models.facts import GRID, HUGGING_FACE, Facts, say
from models.letterbox import Fit, fit, fit_into, stretch
from models.registry import ModelError

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.intp]]
Found = tuple[Floats, Floats, Numbers]
"""left, top, width, height in pixels of the network's input, shape (k, 4); confidence, shape (k,); index in the wanted
classes, shape (k,). A NaN score is below every confidence; a box may contain NaN."""

_STRIDES = (8, 16, 32)
"""Strides of the three grids in pixels, in output order."""
_BINS = 16
"""Each side of a box is a distribution over distances of 0, 1, ... 15 cells from the centre of its cell."""
_ROW = 6
"""Numbers of one box of an end-to-end network: four of its place, confidence, class."""
_KNOWN = "(1, 4 + classes, N), (1, N, 6), (1, N, 4 + classes) or two outputs logits and pred_boxes"


class Head(Protocol):
    """Reads what a network gives."""

    classes: int
    """Number of the network's classes; 0: the file does not say."""
    is_suppressed: bool
    """Whether each object is one box already, so that overlapping boxes are different objects."""

    def fit(self, shape: tuple[int, ...]) -> Fit:
        """Where a picture of this shape (height, width, ...) lies in the network's input."""
        ...

    def read(
        self, outputs: Sequence[Floats], n: int, seen: tuple[int, int], numbers: Sequence[int], least: float
    ) -> Found:
        """The boxes of one picture that reach a confidence.

        Args:
            outputs: from `Backend.infer`.
            n: of the picture in the batch.
            seen: height and width of the network's input, in pixels.
            numbers: the classes to consider.
            least: confidence, in (0, 1).
        """
        ...


def choose_head(facts: Facts) -> Head:
    """The head that reads a network's outputs.

    Raises:
        ModelError: its outputs are of no known kind.
    """
    outputs = facts.outputs
    if set(outputs) == set(GRID):
        return GridHead(facts)
    if set(HUGGING_FACE) <= set(outputs):
        order = list(outputs)
        return QueryHead(facts, order.index(HUGGING_FACE[1]), order.index(HUGGING_FACE[0]))
    shape = next(iter(outputs.values()), ())
    if len(outputs) == 1 and len(shape) == 3:
        head = _of_shape(facts, shape, len(facts.names))
        if head is not None:
            return head
    said = "; ".join(f"{name} {say(shape)}" for name, shape in outputs.items())
    raise ModelError(
        f"{facts.path} has the outputs {said[:200]} and {len(facts.names)} named classes, expected {_KNOWN}"
    )


def _of_shape(facts: Facts, shape: tuple[int | None, ...], named: int) -> Head | None:
    """The head of a network with one output of three dimensions."""
    _, first, last = shape
    head, description = facts.metadata.get("head", ""), facts.metadata.get("description", "").lower()
    is_detr = head == "RTDETRDecoder" or "rtdetr" in description or "rt-detr" in description
    # With two classes both of RT-DETR's exports have rows of six; those that do not name their head are the older.
    if last == _ROW and not (is_detr and named == 2 and not head):
        return RowHead(facts, is_normalised=is_detr)
    if named and last == 4 + named:
        return QueryHead(facts, 0, 0)
    if first is not None and (first == 4 + named or (not named and first > 4 and (last is None or last > first))):
        return CellHead(facts, first - 4)
    return None


class GridHead:
    """Box sides as distributions and class scores as logits, in cells of three grids: YOLOv8 without its decoding.

    Outputs: shape (n, 64, cells) and (n, classes, cells).
    """

    is_suppressed = False

    def __init__(self, facts: Facts) -> None:
        self.classes = facts.outputs[GRID[1]][1] or 0
        self._size_px = facts.size_px

    def fit(self, shape: tuple[int, ...]) -> Fit:
        """See `Head.fit`."""
        return fit(shape, self._size_px)

    def read(
        self, outputs: Sequence[Floats], n: int, seen: tuple[int, int], numbers: Sequence[int], least: float
    ) -> Found:
        """See `Head.read`."""
        return read_boxes(outputs[0][n], outputs[1][n], seen, numbers, least)


class CellHead:
    """YOLOv8's own output, as ultralytics exports it, and all of its family before suppression.

    Output: shape (n, 4 + classes, cells); middle x, middle y, width, height in pixels, then confidences.
    """

    is_suppressed = False

    def __init__(self, facts: Facts, classes: int) -> None:
        self.classes = classes
        self._facts = facts

    def fit(self, shape: tuple[int, ...]) -> Fit:
        """See `Head.fit`."""
        return fit_into(shape, self._facts.size) if self._facts.is_fixed else fit(shape, self._facts.size_px)

    def read(
        self, outputs: Sequence[Floats], n: int, seen: tuple[int, int], numbers: Sequence[int], least: float
    ) -> Found:
        """See `Head.read`."""
        boxes, scores = outputs[0][n][:4], outputs[0][n][4:][list(numbers)]
        kept = np.flatnonzero(scores.max(axis=0) >= least)
        scores = scores[:, kept]
        return _from_middles(boxes[:, kept].T), scores.max(axis=0), scores.argmax(axis=0)


class RowHead:
    """One row for each object: the output of YOLOv10, YOLO26 and RT-DETR, and of exports with suppression inside.

    Output: shape (n, rows, 6); x1, y1, x2, y2 in pixels (RT-DETR: middle x, middle y, width, height in fractions of the
    input), confidence, class.
    """

    is_suppressed = True

    def __init__(self, facts: Facts, *, is_normalised: bool) -> None:
        self.classes = len(facts.names)
        self._size = facts.size
        self._is_normalised = is_normalised

    def fit(self, shape: tuple[int, ...]) -> Fit:
        """See `Head.fit`. Also a network of any size gets one: it takes its best 300 cells, and there must be so many.

        RT-DETR is trained on pictures that are stretched, the others on pictures with a margin.
        """
        return stretch(shape, self._size) if self._is_normalised else fit_into(shape, self._size)

    def read(
        self, outputs: Sequence[Floats], n: int, seen: tuple[int, int], numbers: Sequence[int], least: float
    ) -> Found:
        """See `Head.read`."""
        rows = outputs[0][n]
        matches = rows[:, 5:6] == np.asarray(numbers, np.float32)
        kept = np.flatnonzero((rows[:, 4] >= least) & matches.any(axis=1))
        rows, which = rows[kept], matches[kept].argmax(axis=1)
        if self._is_normalised:
            return _from_middles(_in_pixels(rows[:, :4], seen)), rows[:, 4], which
        corners = np.concatenate([rows[:, :2], rows[:, 2:4] - rows[:, :2]], axis=1)
        return corners, rows[:, 4], which


class QueryHead:
    """DETR's output: for each query a box and the scores of all classes.

    Outputs: boxes, shape (n, queries, 4), middle x, middle y, width, height in fractions of the input; scores, shape
    (n, queries, classes), as logits. Or both in one, shape (n, queries, 4 + classes), as confidences.
    """

    is_suppressed = True

    def __init__(self, facts: Facts, boxes: int, scores: int) -> None:
        """Read boxes and scores from the outputs of these places in the file's order; one place: from one output."""
        shapes = list(facts.outputs.values())
        last = shapes[scores][-1] or 0
        self.classes = last - 4 if boxes == scores else last or len(facts.names)
        self._size = facts.size
        self._boxes, self._scores = boxes, scores

    def fit(self, shape: tuple[int, ...]) -> Fit:
        """See `Head.fit`."""
        return stretch(shape, self._size)

    def read(
        self, outputs: Sequence[Floats], n: int, seen: tuple[int, int], numbers: Sequence[int], least: float
    ) -> Found:
        """See `Head.read`."""
        boxes, scores = outputs[self._boxes][n], outputs[self._scores][n]
        if self._boxes == self._scores:
            boxes, scores = boxes[:, :4], scores[:, 4:]
        else:
            scores = _sigmoid(scores)
        scores = scores[:, list(numbers)]
        kept = np.flatnonzero(scores.max(axis=1) >= least)
        scores = scores[kept]
        return _from_middles(_in_pixels(boxes[kept], seen)), scores.max(axis=1), scores.argmax(axis=1)


def read_boxes(
    sides: Floats, classes: Floats, seen: tuple[int, int], numbers: Sequence[int], min_confidence: float
) -> Found:
    """The boxes of one picture that reach a confidence, one per cell, overlapping ones included.

    Args:
        sides: output of a `GridHead` for one picture: shape (64, cells).
        classes: likewise, shape (classes, cells).
        seen: height and width of the network's input, in pixels.
        numbers: the classes to consider; a cell gets the best of them.
        min_confidence: in (0, 1).
    """
    scores = classes[list(numbers)]
    best = scores.max(axis=0)
    kept = np.flatnonzero(best >= math.log(min_confidence / (1 - min_confidence)))
    confidence = _sigmoid(best[kept])
    with np.errstate(over="ignore", invalid="ignore"):
        corners = _boxes(sides[:, kept], kept, seen)
    return corners, confidence, scores[:, kept].argmax(axis=0)


def _boxes(sides: Floats, places: Numbers, seen: tuple[int, int]) -> Floats:
    """Shape (64, k) to (k, 4)."""
    likely = sides.reshape(4, _BINS, -1)
    likely = np.exp(likely - likely.max(axis=1, keepdims=True))
    left, top, right, bottom = np.arange(_BINS, dtype=np.float32) @ likely / likely.sum(axis=1)
    x, y, stride = _middles(places, seen)
    return np.stack([x - left * stride, y - top * stride, (left + right) * stride, (top + bottom) * stride], axis=1)


def _middles(places: Numbers, seen: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Centre x, centre y and stride of the cells with these indices, in pixels, each of shape (k,)."""
    ends = np.cumsum([(seen[0] // stride) * (seen[1] // stride) for stride in _STRIDES])
    grid = np.searchsorted(ends, places, side="right")
    stride = np.asarray(_STRIDES)[grid]
    row, column = np.divmod(places - np.concatenate([[0], ends])[grid], seen[1] // stride)
    middles = np.stack([(column + 0.5) * stride, (row + 0.5) * stride, stride]).astype(np.float32)
    return middles[0], middles[1], middles[2]


def _from_middles(boxes: Floats) -> Floats:
    """Boxes of middle x, middle y, width, height to left, top, width, height; shape (k, 4)."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


def _in_pixels(boxes: Floats, seen: tuple[int, int]) -> Floats:
    height, width = seen
    return boxes * np.asarray([width, height, width, height], np.float32)


def _sigmoid(scores: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(1 / (1 + np.exp(-scores)), np.float32)
