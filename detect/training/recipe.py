"""The hyperparameters of a training run, stored with its weights; `train` uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from detect.training.augment import EFFECTS

_Count = Annotated[int, Meta(ge=1)]
_Positive = Annotated[float, Meta(gt=0)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that determines the result of a run, except the pictures and the initial weights.

    Attributes:
        size_px: side of the network's square input.
        epochs: length of the run. The learning rate falls, and mosaics end, by the share of epochs left, so that a run
            that was stopped and continued gives the same result as an uninterrupted one.
        pictures: drawn in one epoch, with `corpus.sampling_weights`.
        batch: pictures in one step of the optimiser.
        lr: learning rate of AdamW after a short warm-up; falls to a fiftieth over the run.
        frozen: the number of first layers that are not trained.
        even: draw each label, source and scene evenly (`corpus.sampling_weights`), not each picture.
        hard: how many times as often as others of their kind the pictures listed by `hard_examples` are drawn.
        mosaic: share of pictures composed of four, until the last seventh of the run.
        scale: pictures are scaled by 1 - scale to 1 + scale.
        zoom: share of pictures that are cropped as in the detector's second look.
        people: share of pictures with people that are cropped around one, as in the detector's third look.
        armed: share of pictures with people in which one or two get a weapon, or something else, in their hands.
        paste: share of the pictures into which hazards or decoys are pasted.
        without: effects of `augment.EFFECTS` that are left out.
        look_every: epochs between validations, each of which takes as long as 500 pictures.
    """

    size_px: Annotated[int, Meta(ge=32, multiple_of=32)] = 320
    epochs: _Count = 40
    pictures: _Count = 1600
    batch: _Count = 16
    lr: _Positive = 0.0002
    frozen: Annotated[int, Meta(ge=0)] = 0
    even: bool = True
    hard: _Positive = 3.0
    mosaic: _Share = 0.6
    scale: _Share = 0.5
    zoom: _Share = 0.0
    people: _Share = 0.0
    armed: _Share = 0.0
    paste: _Share = 0.25
    without: tuple[str, ...] = ()
    look_every: _Count = 2
    seed: Annotated[int, Meta(ge=0)] = 0

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; missing numbers have their defaults.

    Raises:
        ValueError: an unknown name or a wrong value; the message names it.
    """
    try:
        recipe = msgspec.json.decode(path.read_bytes(), type=Recipe)
    except (msgspec.DecodeError, OSError) as error:
        raise ValueError(f"recipe {path}: {error}") from None
    if unknown := set(recipe.without) - set(EFFECTS):
        raise ValueError(f"recipe {path}: without must name some of {', '.join(EFFECTS)}, got {min(unknown)!r}")
    return recipe
