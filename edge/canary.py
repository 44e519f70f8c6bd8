"""Judges a canary: what the new version does with bursts, beside what the version before did on the same node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from edge import ssh
from edge.errors import FleetError
from edge.nodes import Node
from edge.shares import bounds

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
    """Too few bursts, or verdicts, came in the time."""


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

    async def look() -> tuple[int, str | None]:
        usage = await ssh.ask(node, {"command": "usage", "name": model}, _Both)
        on_bursts(min(usage.current.bursts, how.bursts))
        return usage.current.bursts, compare(usage.current, usage.before)

    return await judge(
        look, how.bursts, _EARLIEST, how, lambda count: f"node {node.name!r}: only {count} of {how.bursts} bursts"
    )


async def judge(
    look: Callable[[], Awaitable[tuple[int, str | None]]],
    wanted: int,
    earliest: int,
    how: Watch,
    describe: Callable[[int], str],
) -> str | None:
    """Look again and again until there is enough to judge a canary by.

    Args:
        look: returns how much there is, and why the new version is worse as far as can be said from that.
        wanted: how much is enough.
        earliest: how much there must be before the first judgement; less if less is wanted.
        how: for how long, and how often.
        describe: how much there is, in words, for the error.

    Returns:
        Why the new version is worse; None: it is not.

    Raises:
        NotEnoughError: too little came in the time.
    """
    give_up_at = time.monotonic() + how.within_s
    while True:
        count, why = await look()
        # What is plainly worse does not have to go on to the end; of very little nothing is plain.
        if count >= min(wanted, earliest) and (why is not None or count >= wanted):
            return why
        if time.monotonic() >= give_up_at:
            raise NotEnoughError(
                f"{describe(count)} in {how.within_s:.0f} s: it keeps the new version, and the same command goes "
                "on watching"
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
