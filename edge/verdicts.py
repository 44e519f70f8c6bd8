"""Judges a canary by operators' verdicts on its alarms, beside those on the alarms of the version before it.

The database is another room's: `bongsu feedback verdicts` reads it, as a process. `deploy.py` calls this.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from edge.artefact import Version
from edge.audit import read_newest
from edge.canary import Watch, judge
from edge.errors import FleetError
from edge.nodes import Node
from edge.request import clean
from edge.shares import bounds
from edge.status import cameras_of, read_camera_nodes

_EARLIEST = 5
"""Verdicts before the first comparison: of fewer, chance explains everything."""
_LONGEST = timedelta(days=90)
"""How far back the alarms of the version before are counted: scenes change with the seasons."""
_AUDIT_ENTRIES = 5000


class Verdict(msgspec.Struct, frozen=True):
    """An operator's verdict on one incident."""

    camera: str
    hazard: str
    first_seen: datetime
    verdict: Literal["acknowledged", "false_alarm"]


@dataclass(frozen=True, slots=True)
class Canary:
    """Where a new version runs, and since when.

    Attributes:
        node: its node, as it was registered before the new version came.
        cameras: the cameras of that node.
        hazards: what the model can find.
        since: when it was put in use.
        before: when the version before it was.
    """

    node: str
    cameras: frozenset[str]
    hazards: frozenset[str]
    since: datetime
    before: datetime


def find_canary(folder: Path, nodes: Mapping[str, Node], name: str, version: Version, cameras: Path | None) -> Canary:
    """Find out which incidents are those of a canary.

    Args:
        folder: the fleet's folder, whose audit log has the times.
        nodes: all nodes.
        name: of the node that has the new version in use.
        version: the new version; its labels are the hazards that count.
        cameras: `cameras.yaml`, which has the node of each camera.

    Raises:
        FleetError: no camera is the node's, or the new version is not in use.
    """
    node, model = nodes.get(name), version.name
    own = cameras_of(node, nodes, read_camera_nodes(cameras)) if node is not None and cameras is not None else []
    if not own:
        where = cameras or "which is not set"
        raise FleetError(f"node {name!r} has no camera in BONGSU_CAMERAS ({where}), so no verdict is about its version")
    if node is None or model not in node.models:
        raise FleetError(f"node {name!r} does not use {model}")
    since = node.models[model].at
    times = [
        entry.at
        for entry in read_newest(folder, _AUDIT_ENTRIES)
        if entry.subject == node.name
        and entry.action in ("model_deployed", "model_rolled_back")
        and entry.facts.get("model") == model
    ]
    before = next((at for at in times if at < since - timedelta(seconds=1)), since - _LONGEST)
    return Canary(node.name, frozenset(own), frozenset(version.card.labels), since, max(before, since - _LONGEST))


async def watch_verdicts(canary: Canary, how: Watch, on_count: Callable[[int], None]) -> str | None:
    """Wait until operators have judged enough alarms of the new version.

    Args:
        canary: which one.
        how: for how many verdicts and how long.
        on_count: receives how many there were so far.

    Returns:
        Why it is worse than the version before; None: it is not.

    Raises:
        NotEnoughError: too few verdicts came in the time.
        FleetError: the database cannot be read.
    """

    async def look() -> tuple[int, str | None]:
        new, old = split(canary, await read_verdicts(canary.before))
        on_count(min(len(new), how.verdicts))
        return len(new), compare(new, old)

    return await judge(
        look,
        how.verdicts,
        _EARLIEST,
        how,
        lambda count: f"node {canary.node!r}: operators judged {count} of {how.verdicts} alarms",
    )


def split(canary: Canary, verdicts: Sequence[Verdict]) -> tuple[list[Verdict], list[Verdict]]:
    """The verdicts on alarms of the new version, and on those of the version before."""
    own = [
        one for one in verdicts if one.camera in canary.cameras and (not canary.hazards or one.hazard in canary.hazards)
    ]
    new = [one for one in own if one.first_seen >= canary.since]
    return new, [one for one in own if canary.before <= one.first_seen < canary.since]


def compare(new: Sequence[Verdict], old: Sequence[Verdict]) -> str | None:
    """Why the new version's alarms are worse; None: as far as can be said, they are not."""
    if not new or not old:
        return None
    of_new, of_old = (sum(one.verdict == "false_alarm" for one in part) for part in (new, old))
    if bounds(of_new, len(new))[0] <= bounds(of_old, len(old))[1]:
        return None
    return (
        f"operators called {of_new} of {len(new)} alarms false ({of_new / len(new):.1%}); of the version before it "
        f"was {of_old} of {len(old)} ({of_old / len(old):.1%})"
    )


async def read_verdicts(since: datetime) -> list[Verdict]:
    """The verdicts on incidents that began since then.

    Raises:
        FleetError: the database cannot be read.
    """
    command = [sys.executable, "-c", "from functions.cli import main; main()", "feedback", "verdicts"]
    process = await asyncio.create_subprocess_exec(
        *command, "--since", since.isoformat(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, errors = await process.communicate()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or [f"status {process.returncode}"]
        raise FleetError(f"the verdicts cannot be read: {clean(lines[-1])}")
    return [msgspec.json.decode(line, type=Verdict) for line in said.splitlines()]
