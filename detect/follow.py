"""Follows the version of the hazard network that is deployed on this machine; the detector's worker runs it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Protocol

import structlog
from prometheus_client import Counter

from models.network import HAZARD, Spec, hazard_spec
from models.registry import ModelError

log = structlog.get_logger()

switches_total = Counter("bongsu_weights_switched_total", "Switches to a deployed version", ["outcome"])

_PERIOD_S = 1.0
"""Seconds between two checks of the link's target; a check takes 5 microseconds."""


class Follower(Protocol):
    """An object whose network can be replaced: the detector."""

    @property
    def weights(self) -> Path:
        """The file that its network was loaded from."""
        ...

    def switch(self, spec: Spec) -> None:
        """Load another network, then use it; blocks. Raises ModelError, and then keeps the old network."""
        ...


async def follow_weights(detector: Follower, period_s: float = _PERIOD_S) -> None:
    """Keep a detector on the network that `BONGSU_DETECT_WEIGHTS` points to, until cancelled.

    The new network is loaded while the old one keeps working, so that no burst waits. If it cannot be loaded, that is
    reported once, and the old one stays.
    """
    if not os.environ.get("BONGSU_DETECT_WEIGHTS"):
        return  # the shipped network never changes
    refused: Path | None = None
    said = ""
    while True:
        await asyncio.sleep(period_s)
        try:
            spec = hazard_spec()
            # The shipped network serves until the first deployment; once one was made, it never replaces that.
            if spec.path in (HAZARD.path, detector.weights, refused):
                continue
            refused, begun = spec.path, time.perf_counter()
            await asyncio.to_thread(detector.switch, spec)
        except ModelError as error:
            if str(error) != said:
                log.error("weights_refused", reason=str(error), kept=str(detector.weights))
                switches_total.labels("refused").inc()
            said = str(error)
        else:
            refused, said = None, ""
            switches_total.labels("ok").inc()
            log.info("weights_switched", weights=str(spec.path), duration_s=round(time.perf_counter() - begun, 3))
