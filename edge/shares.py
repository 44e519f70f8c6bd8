"""How sure a counted share is; canaries are judged by it, and the benchmarks' intervals are made of it."""

from __future__ import annotations

import math

_Z = 1.645
"""Of the one-sided 95 % bounds that must not overlap."""


def bounds(count: float, of: float, z: float = _Z) -> tuple[float, float]:
    """The bounds of a share by Wilson's score; the whole range where nothing was counted.

    Args:
        count: how many were so.
        of: of how many.
        z: standard deviations to either side.
    """
    if not of:
        return 0.0, 1.0
    share, z2 = count / of, z * z
    middle = share + z2 / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, (middle - spread) / (1 + z2 / of)), min(1.0, (middle + spread) / (1 + z2 / of))
