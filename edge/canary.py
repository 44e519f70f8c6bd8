"""Judges a canary: what the new version does with bursts, beside what the version before did on the same node."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from edge import ssh
from edge.errors import FleetError
from edge.nodes import Node

_Z = 1.645
"""Of the one-sided 95 % bounds that must not overlap."""
_EARLIEST = 20
"""Bursts before the first look: who looks often sees chance more often."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Watch:
    """How a canary is watched.

    Attributes:
        bursts: how many the new version must have looked at.
        verdicts: how many of its alarms operators must have judged, after that.
        within_s: for how long that is waited for.
        every_s: between two looks.
    """

    bursts: int
    verdicts: int = 0
    within_s: float = 1800.0
    every_s: float = 5.0


class Usage(msgspec.Struct, frozen=True):
    """What one version did on a node."""

    digest: Annotated[str, msgspec.Meta(max_length=71)]
    bursts: _Count
    alarms: _Count
    errors: _Count


class _Both(msgspec.Struct, frozen=True):
    current: Usage
    before: Usage | None


class NotEnoughError(FleetError):
    """Too few bursts came in the time."""


async def watch(node: Node, model: str, how: Watch, on_bursts: Callable[[int], None]) -> str | None:
    """Wait until a node's new version has looked at enough bursts.

    Args:
        node: Which one.
        model: The model's name.
        how: For how many bursts and how long.
        on_bursts: Receives how many there were so far.

    Returns:
        Why it is worse than the version before; None: it is not.

    Raises:
        NotEnoughError: too few bursts came in the time.
        FleetError: the node cannot be asked.
    """
    give_up_at = time.monotonic() + how.within_s
    while True:
        usage = await ssh.ask(node, {"command": "usage", "name": model}, _Both)
        on_bursts(min(usage.current.bursts, how.bursts))
        # What is plainly worse does not have to go on to the end; of very few bursts nothing is plain.
        if usage.current.bursts >= min(how.bursts, _EARLIEST):
            why = compare(usage.current, usage.before)
            if why is not None or usage.current.bursts >= how.bursts:
                return why
        if time.monotonic() >= give_up_at:
            raise NotEnoughError(
                f"node {node.name!r}: only {usage.current.bursts} of {how.bursts} bursts in {how.within_s:.0f} s: it "
                "keeps the new version, and the same command goes on watching"
            )
        await asyncio.sleep(how.every_s)


def compare(new: Usage, before: Usage | None) -> str | None:
    """Why the new version is worse than the one before it; None: as far as can be said, it is not."""
    if before is None or not before.bursts:
        return None
    for name in ("errors", "alarms"):
        of_new, of_old = min(getattr(new, name), new.bursts), min(getattr(before, name), before.bursts)
        if bounds(of_new, new.bursts)[0] > bounds(of_old, before.bursts)[1]:
            return (
                f"{name} in {of_new} of {new.bursts} bursts ({of_new / new.bursts:.1%}); the version before had "
                f"{of_old} in {before.bursts} ({of_old / before.bursts:.1%})"
            )
    return None


def bounds(count: int, of: int) -> tuple[float, float]:
    """The bounds of a share by Wilson's score; the whole range where nothing was counted."""
    if not of:
        return 0.0, 1.0
    share, z2 = count / of, _Z * _Z
    middle = share + z2 / (2 * of)
    spread = _Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return (middle - spread) / (1 + z2 / of), (middle + spread) / (1 + z2 / of)
