"""Operating system limits of a worker on one machine; the worker sets them before it loads a model.

On Kubernetes the pod's limits do this. Here a process usually may not create control groups, so it uses what any
process may use: a memory limit, a lower priority, and one computation thread.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

HEADROOM_MB = 200.0
"""Added to the expected size: thread stacks count in full, and a decoded picture of 40 megapixels takes 120 MB."""


def apply(memory_mb: float) -> None:
    """Limit this process and its children for the rest of their lives.

    Args:
        memory_mb: expected size of a worker of this kind. This and `HEADROOM_MB` may be allocated in addition to the
            current memory; further allocations fail with MemoryError, which ends only this worker. Linux only:
            elsewhere the limit has another meaning, or none.
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
