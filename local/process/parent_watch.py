"""Runs in every process that `bongsu run` starts, and ends it when the runner is gone, even after kill -9.

`python -m local.process.parent_watch NAME MODULE [ARGUMENT…]` runs a module this way; a replica calls `hold` itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import sys
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_slot = "runner"


def hold(runner: int, log_file: Path, grace_s: float) -> None:
    """Send this process SIGTERM when the runner is gone, and end it `grace_s` later in any case.

    Args:
        runner: file descriptor that reaches end of file when the runner ends in any way, on every system.
        log_file: takes the output from then on, as the runner no longer reads it.
        grace_s: time to finish the current work.
    """
    threading.Thread(target=_watch, args=(runner, log_file, grace_s), name="parent-watch", daemon=True).start()


def end_with_parent() -> None:
    """On Linux, have the kernel send SIGTERM when the parent process ends; elsewhere do nothing."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def name_process(name: str) -> None:
    """Set the name that `top` and `ps -C` show (15 characters); Linux only."""
    _prctl(_PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]))


def share_metrics() -> None:
    """Keep metrics in one set of files per slot (`detect.0`) rather than per process id.

    Replicas start and stop all day: files by process id would accumulate without limit, while a slot's next replica
    continues the counters of the last one. Must be called before any metric is created.
    """
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import values

        values.ValueClass = values.MultiProcessValue(lambda: _slot)  # type: ignore[no-untyped-call]


def take_slot(slot: str) -> None:
    """Use this slot from now on; two live processes never share one."""
    global _slot  # noqa: PLW0603 - an identity of the process, set once after it starts
    _slot = slot


def _watch(runner: int, log_file: Path, grace_s: float) -> None:
    wait([runner])
    with contextlib.suppress(OSError):
        # Otherwise the next log line would raise in the handler that has to finish.
        output = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os._exit(1)


def _prctl(option: int, value: object) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(
            OSError, AttributeError
        ):  # a libc without prctl: the pipe has the same effect, a little later
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def main() -> None:
    """Run the named module as `__main__`; standard input is the pipe that the runner holds open."""
    name, module, *arguments = sys.argv[1:]
    name_process(name)
    take_slot(name)
    share_metrics()
    hold(os.dup(0), Path(os.environ["BONGSU_PARENT_WATCH_LOG"]), float(os.environ["BONGSU_PARENT_WATCH_GRACE_S"]))
    sys.argv = [module, *arguments]
    sys.path.insert(0, "")
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
