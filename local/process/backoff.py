"""How long to wait before a process that keeps dying is started again."""

from __future__ import annotations

from dataclasses import dataclass

from functions.backoff import backoff_s

_FIRST_S = 1.0
_LONGEST_S = 60.0
_WELL_S = 30.0
"""A process that lived this long was healthy, so its end does not count as a repeated failure."""


@dataclass(slots=True)
class Backoff:
    """Counts consecutive failures: no wait after a long life, else 1 s, doubling up to a minute."""

    failures: int = 0

    def failed(self, lived_s: float) -> float:
        """Record the end of a process; returns the seconds to wait before the next start."""
        if lived_s >= _WELL_S:
            self.failures = 0
            return 0.0
        self.failures += 1
        return backoff_s(self.failures - 1, first_s=_FIRST_S, longest_s=_LONGEST_S, jitter=0)
