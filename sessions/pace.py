"""The share of a core that a worker of one machine may use; it slows its own client down beyond that.

On Kubernetes the pod's limit does this. Here a process may not create control groups, so a worker counts its processor
time, and stops reading for as long as it is over its share: its client's messages then wait in the network, and take no
time of other workers or of the receive server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_BURST_S = 0.2
"""Processor time that may be used at once after a pause."""


class Pace:
    """Measures this process's use of its share."""

    def __init__(self, cores: float, used_s: Callable[[], float] = time.process_time) -> None:
        """Begin with a full burst.

        Args:
            cores: the share, such as 0.5; 0: unlimited.
            used_s: processor time of this process so far.
        """
        self._cores, self._used_s = cores, used_s
        self._left_s = _BURST_S
        self._used_at, self._now = used_s(), time.monotonic()

    async def keep(self) -> None:
        """Wait until this process is within its share; called for each message."""
        if self._cores and (delay_s := self.delay_s(time.monotonic())) > 0:
            await asyncio.sleep(delay_s)

    def delay_s(self, now: float) -> float:
        """How long to do nothing from now, a time of `time.monotonic`, on."""
        used = self._used_s()
        gained_s = (now - self._now) * self._cores - (used - self._used_at)
        self._left_s = min(_BURST_S, self._left_s + gained_s)
        self._used_at, self._now = used, now
        return -self._left_s / self._cores if self._left_s < 0 else 0.0
