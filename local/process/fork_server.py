"""Forks processes from a parent that has already imported their modules; pools and the agent of sessions use it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from local.process import parent_watch

PRELOAD = "BONGSU_PRELOAD"
"""Modules that `preload.py` imports in the fork server, separated by commas."""


@dataclass(frozen=True, slots=True)
class ForkSpec:
    """What a forked process needs to start.

    Attributes:
        entry: the function that it runs, such as `functions.runtime:main`; it exits with what that returns.
        arguments: of that function.
        slot: stable name of the process's place, such as `detect.0`; its successor has the same.
        env: added to the fork server's environment.
        log_file: takes the output once nobody reads it any more.
        grace_s: time to finish once this process has gone.
    """

    entry: str
    arguments: tuple[str | float, ...]
    slot: str
    env: Mapping[str, str]
    log_file: Path
    grace_s: float


class ForkServer:
    """The standard library's fork server, with modules loaded.

    A process starts in milliseconds, and all share the memory of the imported modules. One per process.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        os.environ[PRELOAD] = ",".join(modules)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["local.process.preload"])
        # One thread: the fork server takes one request at a time, and the first waits for the imports to finish.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fork-server")

    async def open(self) -> None:
        """Start the fork server; its imports continue after this returns."""
        await asyncio.get_running_loop().run_in_executor(self._thread, forkserver.ensure_running)

    async def start(self, spec: ForkSpec) -> tuple[ForkServerProcess, Connection]:
        """Fork a process.

        Returns:
            The process, and the end of the pipe from which its output is read.

        Raises:
            OSError: the process could not be started.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._start, spec)

    async def close(self) -> None:
        """Stop the fork server; every forked process must have ended before."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _stop_server)
        self._thread.shutdown()

    def _start(self, spec: ForkSpec) -> tuple[ForkServerProcess, Connection]:
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_live, args=(spec, writer), name=spec.slot, daemon=True)
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


def _live(spec: ForkSpec, output: Connection) -> None:
    """Run a process from fork to exit."""
    # A session of its own: Ctrl-C reaches only the parent, which stops the others in order.
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
    assert runner is not None, "a forked process is started by multiprocessing"
    parent_watch.hold(runner.sentinel, spec.log_file, spec.grace_s)
    parent_watch.end_with_parent()  # ends with the fork server too, which the runner's pipe does not cover
    # The fork server may ignore these signals, and its dispositions are inherited.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if "" not in sys.path:
        sys.path.insert(0, "")
    module, _, function = spec.entry.partition(":")
    sys.exit(getattr(importlib.import_module(module), function)(*spec.arguments))
