"""Forks replicas from a parent process that has already imported their modules; the pool starts its processes here."""

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
class ReplicaSpec:
    """What a replica needs to start."""

    target: str
    slot: str
    """Stable name of the replica's place, such as `detect.0`; its successor has the same."""
    env: Mapping[str, str]
    log_file: Path
    grace_s: float


class ForkServer:
    """The standard library's fork server, with the targets' modules loaded.

    A replica starts in milliseconds, and all share the memory of the imported modules. One per process.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        os.environ[PRELOAD] = ",".join(modules)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["local.preload"])
        # One thread: the fork server takes one request at a time, and the first waits for the imports to finish.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fork-server")

    async def open(self) -> None:
        """Start the fork server; its imports continue after this returns."""
        await asyncio.get_running_loop().run_in_executor(self._thread, forkserver.ensure_running)

    async def start(self, spec: ReplicaSpec) -> tuple[ForkServerProcess, Connection]:
        """Fork a replica.

        Returns:
            The process, and the end of the pipe from which its output is read.

        Raises:
            OSError: the process could not be started.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._start, spec, time.time())

    async def close(self) -> None:
        """Stop the fork server; every replica must have ended before."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _stop_server)
        self._thread.shutdown()

    def _start(self, spec: ReplicaSpec, asked_at: float) -> tuple[ForkServerProcess, Connection]:
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_live, args=(spec, writer, asked_at), name=spec.slot, daemon=True)
        try:
            process.start()
        except EOFError:
            reader.close()
            raise OSError("the fork server ended; the next attempt starts a new one") from None
        except OSError:
            reader.close()
            raise
        finally:
            writer.close()
        return process, reader


def _stop_server() -> None:
    # The standard library stops it when this process ends; we stop it before we report that no process is left.
    stop = getattr(forkserver._forkserver, "_stop", None)
    if stop is not None:
        with contextlib.suppress(OSError):
            stop()


def _live(spec: ReplicaSpec, output: Connection, asked_at: float) -> None:
    """Run a replica from fork to exit."""
    # A session of its own: Ctrl-C reaches only the runner, which stops the others in order.
    os.setsid()
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.update(spec.env)
    # Daemonic in the runner, which must not wait for us at exit; not daemonic here, as a handler may start processes.
    multiprocessing.current_process().daemon = False
    parent_watch.name_process(spec.slot)
    parent_watch.take_slot(spec.slot)
    runner = multiprocessing.parent_process()
    assert runner is not None, "a replica is started by multiprocessing"
    parent_watch.hold(runner.sentinel, spec.log_file, spec.grace_s)
    parent_watch.end_with_parent()  # ends with the fork server too, which the runner's pipe does not cover
    # The fork server may ignore these signals, and its dispositions are inherited.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if "" not in sys.path:
        sys.path.insert(0, "")
    from functions import runtime

    runtime.main(spec.target, asked_at)
