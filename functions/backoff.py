"""How long to wait before another try; all rooms use this one back-off."""

from __future__ import annotations

import random


def backoff_s(attempt: int, *, first_s: float, longest_s: float, jitter: float = 0.25) -> float:
    """Seconds to wait before a retry: `first_s`, doubled `attempt` times, at most `longest_s`, then spread at random.

    Args:
        attempt: how often `first_s` is doubled; 0 gives `first_s` itself.
        first_s: the shortest wait, before it is spread.
        longest_s: the longest wait, before it is spread.
        jitter: share by which it may be shorter or longer, so that replicas do not all retry at once; 0 for none.
    """
    # 2^30 s is longer than any limit, and much larger powers overflow a float.
    wait_s = min(longest_s, first_s * 2.0 ** min(attempt, 30))
    return wait_s * random.uniform(1 - jitter, 1 + jitter)
