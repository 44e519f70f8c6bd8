"""Notices that a pod's worker serves before the kubelet does, whose probe runs once a second; the backend uses it.

Only for workers for which a client waits. They are asked directly, as receive servers do anyway; the pod's readiness
from the watch remains what counts for the warm pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from functions.backoff import backoff_s
from sessions.dial import is_serving
from sessions.records import Worker

_TRIES = 200
"""For about 40 s: then the watch decides alone."""


class Readiness:
    """Asks workers that start for a session until each answers."""

    def __init__(self, changed: Callable[[Worker], None]) -> None:
        """Prepare.

        Args:
            changed: called with each worker that has begun to serve.
        """
        self._changed = changed
        self._serving: set[str] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}

    def judge(self, worker: Worker) -> Worker:
        """A worker as the watch describes it, but ready if it is known to serve already; else it will be asked."""
        if worker.state != "starting" or not worker.session or not worker.address:
            return worker
        if worker.name in self._serving:
            return replace(worker, state="ready")
        if worker.name not in self._asking:
            self._asking[worker.name] = asyncio.create_task(self._ask(worker))
        return worker

    def forget(self, name: str) -> None:
        """Note that a worker no longer exists."""
        self._serving.discard(name)
        if (task := self._asking.pop(name, None)) is not None:
            task.cancel()

    def close(self) -> None:
        """Ask nobody any more."""
        for name in list(self._asking):
            self.forget(name)

    async def _ask(self, worker: Worker) -> None:
        for attempt in range(_TRIES):
            if await is_serving(worker.address):
                self._serving.add(worker.name)
                self._changed(worker)
                return
            await asyncio.sleep(backoff_s(min(attempt, 3), first_s=0.05, longest_s=0.2))
