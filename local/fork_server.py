"""Forks replicas from a parent that has imported everything already; the pool starts its processes here."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from local.process import parent_watch

PRELOAD = "BONGSU_PRELOAD"
"""Modules that `local/preload.py` imports in the fork server, separated by commas."""


@dataclass(frozen=True, slots=True)
class Birth:
    """What a replica is told when it starts."""

    target: str
    slot: str
    """Which copy it is, such as `detect.0`; the next one in this place has the same."""
    env: Mapping[str, str]
    log_file: Path
    grace_s: float


class ForkServer:
    """The standard library's fork server, with the targets' modules loaded.

    A replica starts in milliseconds, and all share the memory of what they import. There is one in a process.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        os.environ[PRELOAD] = ",".join(modules)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["local.preload"])
        # One thread: the fork server takes one request at a time, and the first waits until all is imported.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fork-server")

    async def open(self) -> None:
        """Start the fork server; it goes on importing after this returns."""
        await asyncio.get_running_loop().run_in_executor(self._thread, forkserver.ensure_running)

    async def start(self, birth: Birth) -> tuple[ForkServerProcess, Connection]:
        """Fork a replica.

        Returns:
            The process, and the end from which its output is read.

        Raises:
            OSError: no process could be had.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._start, birth, time.time())

    async def close(self) -> None:
        """End the fork server; every replica must have ended before."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _stop_server)
        self._thread.shutdown()

    def _start(self, birth: Birth, asked_at: float) -> tuple[ForkServerProcess, Connection]:
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_live, args=(birth, writer, asked_at), name=birth.slot, daemon=True)
        try:
            process.start()
        except EOFError:
            reader.close()
            raise OSError("the fork server ended; the next try starts a new one") from None
        except OSError:
            reader.close()
            raise
        finally:
            writer.close()
        return process, reader


def _stop_server() -> None:
    # The standard library ends it when this process ends; we want it gone before we say that nothing is left.
    stop = getattr(forkserver._forkserver, "_stop", None)
    if stop is not None:
        with contextlib.suppress(OSError):
            stop()


def _live(birth: Birth, output: Connection, asked_at: float) -> None:
    """What a replica does, from fork to end."""
    # Its own session: Ctrl-C reaches the runner alone, which stops the others in order.
    os.setsid()
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.update(birth.env)
    # Daemonic only for the runner's sake, which must never wait for us at exit: a handler may start processes.
    multiprocessing.current_process().daemon = False
    parent_watch.name_process(birth.slot)
    parent_watch.take_slot(birth.slot)
    runner = multiprocessing.parent_process()
    assert runner is not None, "a replica is started by multiprocessing"
    parent_watch.hold(runner.sentinel, birth.log_file, birth.grace_s)
    parent_watch.end_with_parent()  # the fork server's end, which the runner's pipe does not tell
    # The fork server may have been signalled too; its dispositions are inherited.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if "" not in sys.path:
        sys.path.insert(0, "")
    from functions import runtime

    runtime.main(birth.target, asked_at)
