"""One life of one command as a child process: started, followed to its end, ended with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from local.process.output import Output, last_line


@dataclass(frozen=True, slots=True)
class Command:
    """A Python module to run, its arguments and what it gets in its environment."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 10.0


class Child:
    """Runs a command once. Even kill -9 of this process ends it (`parent_watch.py`)."""

    def __init__(self, command: Command, output: Output) -> None:
        self._command = command
        self._output = output
        self._process: asyncio.subprocess.Process | None = None
        self._wanted: signal.Signals | None = None

    @property
    def pid(self) -> int | None:
        """Its process; None before it has started and after it has ended."""
        return self._process.pid if self._process is not None else None

    def send(self, signum: signal.Signals) -> None:
        """Signal it, as soon as it has started."""
        self._wanted = signum
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    async def run(self) -> tuple[int, str]:
        """Run it to its end.

        Returns:
            Its exit status (negative: the signal), and the last line that was not a structured log.

        Raises:
            OSError: it cannot be started.
        """
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
            start_new_session=True,  # Ctrl-C reaches the runner alone, which stops the others in order
        )  # fmt: skip
        self._process = process
        if self._wanted is not None:
            self.send(self._wanted)
        assert process.stdout is not None, "asked for above"
        following = asyncio.create_task(self._output.follow(command.name, process.stdout))
        code = await process.wait()
        last = await last_line(following)
        self._process = None
        return code, last


def describe_end(code: int, last: str) -> str:
    """How a process ended, for people: its exit status (negative: the signal) and the last thing it said."""
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    because = f": {last}" if last else ""
    return f"ended with status {code}{because}" if code else f"ended by itself{because}"
