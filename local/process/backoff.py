"""How long a process that keeps dying waits before it is started again."""

from __future__ import annotations

from dataclasses import dataclass

from functions.backoff import backoff_s

_FIRST_S = 1.0
_LONGEST_S = 60.0
_WELL_S = 30.0
"""A process that lived so long was well, so its end is not one more of a row."""


@dataclass(slots=True)
class Backoff:
    """Counts ends in a row: at once after a long life, else 1 s, doubling up to a minute."""

    failures: int = 0

    def failed(self, lived_s: float) -> float:
        """Note an end; returns the seconds to wait before the next start."""
        if lived_s >= _WELL_S:
            self.failures = 0
            return 0.0
        self.failures += 1
        return backoff_s(self.failures - 1, first_s=_FIRST_S, longest_s=_LONGEST_S, jitter=0)
