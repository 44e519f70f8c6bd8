"""What the operating system keeps a worker to on one machine; the worker sets it on itself before it loads a model.

On Kubernetes the pod's limits do this. Here a process may not make control groups of its own in general, so it uses
what any process may use: a limit of memory, a lower priority, and one thread of computation.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

HEADROOM_MB = 200.0
"""Beside the expected size: stacks of threads count in full, and a decoded picture of 40 megapixels takes 120 MB."""


def apply(memory_mb: float) -> None:
    """Keep this process, and what it starts, to its share for the rest of its life.

    Args:
        memory_mb: expected size of a worker of this kind. With `HEADROOM_MB` it may be allocated beside what is
            allocated now; the next allocation fails with MemoryError, which ends the worker and no other. Linux only:
            elsewhere the limit means something else, or nothing.
    """
    if sys.platform == "linux":
        limit = int(_allocated_bytes() + (memory_mb + HEADROOM_MB) * 1e6)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _allocated_bytes() -> int:
    """Private writable memory, which is what RLIMIT_DATA counts."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)
