"""One always-on child of the runner (map API, motion, the demo's cameras), restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from local.process.backoff import Backoff
from local.process.output import Output


@dataclass(frozen=True, slots=True)
class Command:
    """A Python module to run, with its arguments and environment."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 10.0


class Service:
    """Keeps one command running until it is stopped."""

    def __init__(self, command: Command, output: Output) -> None:
        self._command = command
        self._output = output
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None
        self._is_killed = False

    @property
    def pid(self) -> int | None:
        """Id of its current process; None between restarts."""
        return self._process.pid if self._process is not None else None

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
        self._is_killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                reason = await self._live()
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

    async def _live(self) -> str:
        command = self._command
        env = {
            **os.environ,
            **command.env,
            "BONGSU_PARENT_WATCH_LOG": str(self._output.log_file(command.name)),
            "BONGSU_PARENT_WATCH_GRACE_S": f"{command.grace_s:g}",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "local.process.parent_watch", command.name, command.module, *command.arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=env,
            start_new_session=True,  # Ctrl-C reaches only the runner, which stops the others in order
        )  # fmt: skip
        self._process = process
        if self._stopping.is_set():
            self._signal(signal.SIGKILL if self._is_killed else signal.SIGTERM)
        assert process.stdout is not None, "stdout is piped"
        follow = asyncio.create_task(self._output.follow(command.name, process.stdout))
        code = await process.wait()
        await asyncio.wait([follow], timeout=1.0)
        last = follow.result() if follow.done() else ""
        follow.cancel()
        self._process = None
        return describe_end(code, last)


def describe_end(code: int, last: str) -> str:
    """How a process ended, for people: its exit status (negative: the signal) and its last line."""
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    because = f": {last}" if last else ""
    return f"ended with status {code}{because}" if code else f"ended by itself{because}"
