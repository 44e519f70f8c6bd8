"""This machine as a node: the same requests as over SSH, to Python in a process of its own, and no SSH server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from edge.errors import NodeRefusedError
from edge.request import BOOTSTRAP, clean

_LINE_BYTES = 2 << 20
_END_S = 10
_COMMAND_S = 60


class HereProcess:
    """A process as `request.Process` asks for it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    @property
    def exit_status(self) -> int | None:
        """Negative: a signal ended it; None while it runs."""
        return self._process.returncode

    async def wait_closed(self) -> None:
        """Wait for its end."""
        await self._process.wait()


@contextlib.asynccontextmanager
async def python(home: Path) -> AsyncIterator[HereProcess]:
    """Python that waits for a request; it has ended when this is left.

    Args:
        home: Folder in the place of `~/.bongsu`.

    Raises:
        OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-u", "-c", BOOTSTRAP,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "BONGSU_NODE_HOME": str(home), "BONGSU_NODE_PYTHON": sys.executable}, limit=_LINE_BYTES,
    )  # fmt: skip
    try:
        yield HereProcess(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def run(command: Sequence[str]) -> str:
    """Run a command of this system; what it printed, errors included.

    Raises:
        NodeRefusedError: it failed or took too long; the message has its last line.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(_COMMAND_S):
            said, _ = await process.communicate()
    except OSError as error:
        raise NodeRefusedError(f"this machine: {command[0]}: {error.strerror}") from None
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NodeRefusedError(f"this machine: {command[0]} took over {_COMMAND_S} s") from None
    text = said.decode(errors="replace")
    if process.returncode:
        last = clean(text.strip().splitlines()[-1]) if text.strip() else f"status {process.returncode}"
        raise NodeRefusedError(f"this machine: {command[0]} failed: {last}")
    return text
