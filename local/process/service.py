"""One always-on child of the runner (map API, motion, the demo's cameras), restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

from local.process.backoff import Backoff
from local.process.child import Child, Command, describe_end
from local.process.output import Output

__all__ = ["Command", "Service", "describe_end"]


class Service:
    """Keeps one command running until it is stopped."""

    def __init__(self, command: Command, output: Output) -> None:
        self._command = command
        self._output = output
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Id of its current process; None between restarts."""
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        """Start it, and keep it running from now on."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Send SIGTERM, then SIGKILL after the grace period; returns when it has ended."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=self._command.grace_s)
            if late:
                self._output.say(f"{self._command.name:<9}did not stop in {self._command.grace_s:.0f} s: killed")
                self._signal(signal.SIGKILL)
            await self._task

    def kill(self) -> None:
        """Kill it at once."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        if self._child is not None:
            self._child.send(signum)

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            started_at = time.monotonic()
            self._child = Child(self._command, self._output)
            try:
                reason = describe_end(*await self._child.run())
            except OSError as error:
                reason = f"could not be started: {error}"
            if self._stopping.is_set():
                return
            delay_s = self._backoff.failed(time.monotonic() - started_at)
            again = f"again in {delay_s:.0f} s" if delay_s else "starting it again"
            name = self._command.name
            self._output.say(f"{name:<9}{reason}; {again}; its log is {self._output.log_file(name)}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()
