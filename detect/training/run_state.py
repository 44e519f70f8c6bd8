"""Everything that a training run needs to continue exactly; `trainer` writes it after each epoch.

A file of tensors and plain values in full precision, read with `weights_only`: opening it runs no code. Ultralytics'
checkpoints are pickles in half precision, and continue from the moving average instead of the weights.
Needs the `train` extra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from models.registry import ModelError


@dataclass(frozen=True, slots=True)
class RunState:
    """A run after an epoch.

    Attributes:
        epoch: the number of the last epoch, from 0.
        model: tensors of the network that is trained.
        average: tensors of its moving average, which is what is validated and shipped ...
        updates: ... and how many steps that has seen.
        optimizer: state of the optimiser.
        scaler: state of the scaling of gradients, on a GPU.
        best_fitness: of the best epoch so far, by the validation split; None before the first validation.
        metrics: of the last validation.
        results: `results.csv` so far.
    """

    epoch: int
    model: Mapping[str, Any]
    average: Mapping[str, Any]
    updates: int
    optimizer: Mapping[str, Any]
    scaler: Mapping[str, Any]
    best_fitness: float | None
    metrics: Mapping[str, float]
    results: str

    @classmethod
    def of(cls, trainer: Any) -> RunState:
        """The state of an ultralytics trainer at the end of an epoch."""
        best = trainer.best_fitness
        return cls(
            epoch=int(trainer.epoch),
            model=trainer.model.state_dict(),
            average=trainer.ema.ema.state_dict(),
            updates=int(trainer.ema.updates),
            optimizer=trainer.optimizer.state_dict(),
            scaler=trainer.scaler.state_dict(),
            best_fitness=None if best is None else float(best),
            metrics={name: float(value) for name, value in trainer.metrics.items()},
            results=trainer.csv.read_text(),
        )

    def restore(self, trainer: Any) -> None:
        """Put it into a trainer that has just been built."""
        trainer.model.load_state_dict(self.model)
        trainer.ema.ema.load_state_dict(self.average)
        trainer.ema.updates = self.updates
        trainer.optimizer.load_state_dict(self.optimizer)
        trainer.scaler.load_state_dict(self.scaler)
        trainer.best_fitness = self.best_fitness
        trainer.metrics = dict(self.metrics)
        trainer.start_epoch = self.epoch + 1

    def write(self, path: Path) -> None:
        """Write it."""
        torch.save(asdict(self), path)


def read_state(path: Path) -> RunState:
    """Read a state.

    Raises:
        ModelError: it is not a state; the message has the fix.
    """
    try:
        return RunState(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises a dozen kinds of errors for a broken file
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{path} is not the state of a training run ({reason}): choose another folder with --run, or remove it to "
            f"begin again"
        ) from error


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under another name and then rename it, so that a half-written one is never read."""
    part = path.with_suffix(".part")
    write(part)
    part.replace(path)
