"""How the hazard network is trained: the numbers of a run, written beside its weights; `train` follows them."""

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
    """Everything that decides what comes out of a run, but the pictures and the weights that it starts from.

    Attributes:
        size_px: side of the square that the network sees.
        epochs: how long the run is. The rate falls, and mosaics end, by the share of the epochs that is left, so that a
            run that was stopped and continued ends where an uninterrupted one would.
        pictures: drawn in one epoch, with `corpus.sampling_weights`.
        batch: pictures in one step of the optimiser.
        lr: of AdamW, after a short warm-up; falls with what is left of the run, to a fiftieth.
        frozen: so many of the network's layers, from the picture on, stay as they are.
        even: draw each label, source and scene evenly (`corpus.sampling_weights`), not each picture.
        hard: so many times as often as others of their kind are drawn the pictures that `hard_examples` found hard.
        mosaic: share of the pictures that are four in one, until the last seventh of the run.
        scale: pictures are zoomed by 1 - scale to 1 + scale.
        zoom: share of the pictures of which a part is shown, as the detector looks again at what moved.
        paste: share of the pictures into which hazards or decoys are pasted.
        without: effects of `augment.EFFECTS` that are left out.
        look_every: epochs from one look at the validation split to the next, which takes as long as 500 pictures.
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
    paste: _Share = 0.25
    without: tuple[str, ...] = ()
    look_every: _Count = 2
    seed: Annotated[int, Meta(ge=0)] = 0

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))


def load_recipe(path: Path) -> Recipe:
    """Read a recipe, of which every number may be left out.

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
