"""What functions declare beside their queues, hooks and schedules, read in a process of its own; the runner asks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from functions.event.requests import HOOK, TICK
from functions.hook import RESULTS
from functions.schedule import Schedule, read_schedules
from local.checks import RunError
from local.manifest import Workload

_LOAD_S = 60.0


def needed_queues(workloads: Sequence[Workload]) -> list[str]:
    """The queues that these workloads read, and that of what they answer."""
    names = [name for workload in workloads for name in workload.rule.queues]
    return [*names, *([RESULTS] if any(name.startswith(HOOK) for name in names) else [])]


def find_hooks(workloads: Sequence[Workload]) -> str:
    """The hooks that these workloads answer, as `BONGSU_HOOKS` has them.

    Raises:
        RunError: a function cannot be loaded, or two have the same address.
    """
    return _ask("hooks", [w.target for w in workloads if _reads(w, HOOK)])


def find_schedules(workloads: Sequence[Workload]) -> tuple[Schedule, ...]:
    """The schedules of these workloads.

    Raises:
        RunError: a function cannot be loaded, or a schedule cannot be used.
    """
    return read_schedules(_ask("schedules", [w.target for w in workloads if _reads(w, TICK)]))


def _reads(workload: Workload, family: str) -> bool:
    return any(name.startswith(family) for name in workload.rule.queues)


def _ask(what: str, targets: Sequence[str]) -> str:
    """One line of `bongsu function`; nothing where there is no target."""
    if not targets:
        return ""
    # Not here: what the functions import would stay in the runner, which starts all others.
    command = [sys.executable, "-m", "functions.cli", "function", what, *targets]
    try:
        asked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_LOAD_S)
    except subprocess.TimeoutExpired:
        raise RunError(
            f"{' '.join(targets)}: importing takes over {_LOAD_S:.0f} s: move slow work into `uses`"
        ) from None
    lines = asked.stderr.strip().splitlines() or [f"exit status {asked.returncode}"]
    if asked.returncode:
        raise RunError(lines[-1].removeprefix("bongsu: "))
    return asked.stdout.strip()
