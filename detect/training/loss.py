"""YOLOv8's loss with labels of weapons of unknown kind; `trainer` uses it. Needs the `train` extra."""

from __future__ import annotations

from typing import Any

import torch
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.tal import TaskAlignedAssigner

from detect.training.corpus import WEAPONS
from functions import HAZARDS

_WEAPONS = [HAZARDS.index(name) for name in HAZARDS if name in WEAPONS]


class HazardLoss(v8DetectionLoss):  # type: ignore[misc]
    """The loss of the hazards, where class `len(HAZARDS)` is a weapon of unknown kind.

    In each cell such a box is a positive for the weapon that the network itself predicts, and does not count for the
    other one: either weapon gives an alert, while a labeller's wrong guess would train the network against correct
    predictions. Its edges count as those of any other box.
    """

    assigner: Any
    bce: Any

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.assigner = WeaponAssigner(
            topk=self.assigner.topk,
            num_classes=self.nc,
            alpha=self.assigner.alpha,
            beta=self.assigner.beta,
            stride=self.assigner.stride,
        )
        each = self.bce
        self.bce = lambda scores, targets: each(scores, targets) * self.assigner.counts


class WeaponAssigner(TaskAlignedAssigner):  # type: ignore[misc]
    """Assigns labels to cells; the class after the network's last one is a weapon of unknown kind.

    Attributes:
        counts: of the last assignment: 0 where a cell's class is unknown, 1 elsewhere; shape (n, cells, classes).
    """

    counts: torch.Tensor

    def __init__(self, *, num_classes: int, **options: Any) -> None:
        super().__init__(num_classes=num_classes + 1, **options)

    def forward(self, pd_scores: torch.Tensor, *args: Any, **options: Any) -> Any:
        """As in the base class, with scores and targets only of the network's classes; shape (n, cells, classes)."""
        weapons = pd_scores[..., _WEAPONS]
        extended = torch.cat([pd_scores, weapons.amax(-1, keepdim=True)], dim=-1)
        labels, boxes, scores, *rest = super().forward(extended, *args, **options)
        known, unknown = scores[..., :-1].to(pd_scores.dtype), scores[..., -1:].to(pd_scores.dtype)
        taken_for = torch.zeros_like(weapons).scatter_(-1, weapons.argmax(-1, keepdim=True), 1)
        known = known.clone()
        known[..., _WEAPONS] += unknown * taken_for
        self.counts = torch.ones_like(pd_scores)
        self.counts[..., _WEAPONS] -= (unknown > 0).to(pd_scores.dtype) * (1 - taken_for)
        return labels, boxes, known, *rest
