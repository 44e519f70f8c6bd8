"""What a deployed version does on this machine: bursts, alarms and errors, counted in a file beside the version.

`bongsu models deploy --canary 1 --bursts 200` reads the counts of the new version and of the one before over SSH
(edge/node/usage.py), and so decides whether the new one stays. Each process of the detector has a file of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from models.registry import MANIFEST

FOLDER = ".usage"
"""In the model's folder on a node: `.usage/DIGEST/PROCESS.json`."""
_WRITE_S = 1.0


class Usage:
    """Counts for the version that is in use now; does nothing for weights that the fleet has not deployed."""

    def __init__(self) -> None:
        self._weights: Path | None = None
        self._path: Path | None = None
        self._counts: dict[str, int] = {}
        self._written_at = 0.0

    def add(self, weights: Path, *, bursts: int, alarms: int = 0, errors: int = 0) -> None:
        """Count what became of bursts.

        Args:
            weights: The file of the network that looked at them.
            bursts: How many.
            alarms: In how many of them a hazard was confirmed.
            errors: How many of them could not be looked at.
        """
        if weights != self._weights:
            self._begin(weights)
        if self._path is None:
            return
        for name, count in (("bursts", bursts), ("alarms", alarms), ("errors", errors)):
            self._counts[name] = self._counts.get(name, 0) + count
        if errors or time.monotonic() - self._written_at >= _WRITE_S:
            self.write()

    def write(self) -> None:
        """Write the counts now; where the folder cannot be written, nobody can judge this version."""
        if self._path is None or not self._counts:
            return
        self._written_at = time.monotonic()
        partial = self._path.with_suffix(".partial")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self._counts))
            partial.replace(self._path)

    def _begin(self, weights: Path) -> None:
        self.write()
        version = weights.parent
        is_deployed = (version / MANIFEST).is_file()
        name = f"{os.getpid()}-{time.time_ns()}.json"
        self._weights, self._counts = weights, {}
        self._path = version.parent / FOLDER / version.name / name if is_deployed else None
