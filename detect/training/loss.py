"""YOLOv8's loss for labels of which some say "a weapon" and not which; `trainer` uses it. Needs the `train` extra."""

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

    Such a box is a positive for the weapon that the network itself takes it for at each place, and says nothing of the
    other one: people are alerted of either, while a wrong guess of the labeller would teach the network to doubt what
    it sees. Its edges teach as those of any other box.
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
    """Assigns labels to places; one class more than the network tells is a weapon of unknown kind.

    Attributes:
        counts: of the last assignment, 0 where a class of a place is not known and 1 elsewhere; shape (n, places,
            classes).
    """

    counts: torch.Tensor

    def __init__(self, *, num_classes: int, **options: Any) -> None:
        super().__init__(num_classes=num_classes + 1, **options)

    def forward(self, pd_scores: torch.Tensor, *args: Any, **options: Any) -> Any:
        """As its base, of scores and for targets of the network's classes alone; shape (n, places, classes)."""
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
