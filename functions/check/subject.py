"""The function under test as a process: a command, or a container of an image."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import uuid
from pathlib import Path

_STOP_S = 35
"""Longer than the 30 s that Kubernetes gives a pod."""


class SubjectError(Exception):
    """The function cannot be started; the message says why."""


class Subject:
    """One replica at a time; what it prints goes to a file."""

    def __init__(self, command: str, broker_url: str, log: Path) -> None:
        """Take what `bongsu function check` was given.

        Args:
            command: a command line, or the name of an image: a single word that is neither a file nor in PATH.
            broker_url: what it gets as BONGSU_BROKER_URL.
            log: the file that its output is added to.

        Raises:
            SubjectError: it is an image, and there is no docker.
        """
        words = shlex.split(command)
        if not words:
            raise SubjectError("name a command or an image")
        self._is_image = len(words) == 1 and shutil.which(words[0]) is None and not Path(words[0]).exists()
        self._words, self._url, self._log = words, broker_url, log
        self._container = ""
        self._process: asyncio.subprocess.Process | None = None
        if self._is_image and shutil.which("docker") is None:
            raise SubjectError(
                f"{words[0]} is neither a command nor a file here, and there is no docker to run an image"
            )

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start a replica, if none runs.

        Raises:
            SubjectError: the command cannot be started.
        """
        if self.is_running:
            return
        words = self._docker() if self._is_image else self._words
        # Metrics off: their port may be taken by a replica that runs here already.
        environment = {**os.environ, "BONGSU_BROKER_URL": self._url, "BONGSU_METRICS_PORT": "0"}
        with self._log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *words, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise SubjectError(f"{words[0]} cannot be started: {error.strerror}") from error

    async def stop(self) -> int | None:
        """Send SIGTERM and wait; its exit status, None where it had to be killed."""
        if self._process is None:
            return None
        if self.is_running:
            await self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                return await self._process.wait()
        except TimeoutError:
            await self.kill()
            return None

    async def kill(self) -> None:
        """Send SIGKILL, as a node that fails would, and wait."""
        if self._process is not None and self.is_running:
            await self._signal(signal.SIGKILL)
            await self._process.wait()

    def tail(self, lines: int = 8) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError):
            return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])
        return ""

    def _docker(self) -> list[str]:
        self._container = f"bongsu-check-{uuid.uuid4().hex[:12]}"
        # The host's network, as the broker is reached through a port of this process.
        options = [
            "--rm",
            "--network=host",
            f"--name={self._container}",
            "-eBONGSU_BROKER_URL",
            "-eBONGSU_METRICS_PORT",
        ]
        return ["docker", "run", *options, *self._words]

    async def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._is_image:
            command = ["docker", "kill", f"--signal={number.name}", self._container]
            asked = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
            await asked.wait()
            return
        with contextlib.suppress(ProcessLookupError):
            # To the process alone where it can end by itself; to its whole group where nothing may be left.
            if number is signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
