"""One process forked from the fork server: started, followed to its end, with the methods of `child.py`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from local.process.fork_server import ForkServer, ForkSpec
from local.process.output import Output, last_line


class ForkedChild:
    """Runs one process. It ends with this process and with the fork server, however these end."""

    def __init__(self, server: ForkServer, spec: ForkSpec, name: str, output: Output) -> None:
        """Prepare to run it.

        Args:
            server: forks it.
            spec: what it runs.
            name: under which its output is kept.
            output: takes what it writes.
        """
        self._server = server
        self._spec = spec
        self._name = name
        self._output = output
        self._process: ForkServerProcess | None = None
        self._wanted: signal.Signals | None = None

    @property
    def pid(self) -> int | None:
        """Its process; None before it has started and after it has ended."""
        return self._process.pid if self._process is not None else None

    def send(self, signum: signal.Signals) -> None:
        """Signal it, as soon as it has started."""
        self._wanted = signum
        process = self._process
        if process is not None and process.pid is not None and process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signum)

    async def run(self) -> tuple[int, str]:
        """Run it to its end.

        Returns:
            Its exit status (negative: the signal), and the last line that was not a structured log.

        Raises:
            OSError: it cannot be started.
        """
        process, reader = await self._server.start(self._spec)
        self._process = process
        if self._wanted is not None:  # asked to stop while it was being forked
            self.send(self._wanted)
        following = asyncio.create_task(self._follow(reader))
        code = await _ended(process)
        last = await last_line(following)
        self._process = None
        process.close()
        return code, last

    async def _follow(self, reader: Connection) -> str:
        stream = asyncio.StreamReader()
        with reader, os.fdopen(os.dup(reader.fileno()), "rb") as pipe:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), pipe
            )
            try:
                return await self._output.follow(self._name, stream)
            finally:
                transport.close()


async def _ended(process: ForkServerProcess) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(process.sentinel, ended.cancel)
    try:
        await asyncio.wait([ended])
    finally:
        loop.remove_reader(process.sentinel)
    code = process.exitcode
    return 255 if code is None else code
