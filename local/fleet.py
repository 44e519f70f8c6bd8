"""The fleet on one machine: this machine is its first node, and the detector runs what is deployed to it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from local.checks import Options
from local.process.output import Output
from local.process.service import Command, Service
from local.state import State


def fleet_environment(options: Options, state: State) -> dict[str, str]:
    """Variables of all children that concern the fleet."""
    if not _is_run(options):
        # A name left in the environment would have the page show nodes that nobody watches.
        return {"BONGSU_FLEET_STATUS": ""}
    folder = Path(os.environ.get("BONGSU_FLEET") or state.root / "fleet").absolute()
    return {
        "BONGSU_FLEET": str(folder),
        "BONGSU_FLEET_STATUS": str(folder / "status.json"),
        # What somebody names stays; until the first deployment this means the shipped network (models/network.py).
        "BONGSU_DETECT_WEIGHTS": os.environ.get("BONGSU_DETECT_WEIGHTS") or str(folder / "here/models/hazard/current"),
    }


def fleet_services(options: Options, cameras: str, output: Output) -> list[Service]:
    """What watches the fleet; empty where there is none.

    Args:
        options: Of the run.
        cameras: The file of cameras, which says which node reads which.
        output: Where it logs.
    """
    if not _is_run(options):
        return []
    command = Command("fleet", "edge.service", ("--here",), env={"BONGSU_CAMERAS": cameras}, grace_s=5.0)
    return [Service(command, output)]


def _is_run(options: Options) -> bool:
    """Whether it is wanted and installed: what an environment lacks must not start again and again."""
    return options.has_fleet and find_spec("asyncssh") is not None
