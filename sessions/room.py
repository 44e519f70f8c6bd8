"""A machine's resources for workers, and how much of them is used; the machine and its agent call it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from functions.settings import split
from sessions.catalogue import KINDS
from sessions.records import Worker
from sessions.settings import Settings


@dataclass(frozen=True, slots=True)
class Room:
    """This machine's resources for workers."""

    cores: float
    memory_mb: float
    classes: tuple[str, ...] = ()
    has_gpu: bool = False

    @classmethod
    def of(cls, config: Settings) -> Room:
        """What the settings say, or what this process has: a container may have less than its machine."""
        cores = config.sessions_cores or float(len(os.sched_getaffinity(0)))
        memory_mb = config.sessions_memory_mb or _memory_mb() / 2
        return cls(cores, memory_mb, tuple(split(config.sessions_classes)), config.sessions_gpu)

    def has_place(self, kind: str, used: tuple[float, float]) -> bool:
        """Whether a worker of that kind fits beside the used cores and memory."""
        need = KINDS[kind]
        return used[0] + need.cores <= self.cores and used[1] + need.memory_mb <= self.memory_mb


def used_by(workers: Iterable[Worker]) -> tuple[float, float]:
    """Cores and memory in MB that are reserved for workers."""
    kinds = [KINDS[worker.kind] for worker in workers]
    return sum(kind.cores for kind in kinds), sum(kind.memory_mb for kind in kinds)


def _memory_mb() -> float:
    """Memory of this machine or, if it is less, of this process's control group."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()) / 1e6)
    return total
