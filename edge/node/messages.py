"""A node's messages, and helpers for its files; the other modules of this package use them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

HOME = Path.home() / ".bongsu"
CHUNK_BYTES = 1 << 18
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
FILE = re.compile(r"[^./\\\0][^/\\\0]{0,199}")
_LOCK_S = 60
_PROGRESS_S = 0.25


class Refused(Exception):
    """The node refuses the request; the message is one line for the operator."""


class Progress:
    """Reports the progress of a transfer, a few times a second."""

    def __init__(self, total: int, done: int) -> None:
        """Report at once that `done` of `total` bytes are here already."""
        self._total, self._done = total, done
        self.report()

    def add(self, count: int) -> None:
        """Count received bytes, and report them if it is time to."""
        self._done += count
        if time.monotonic() - self._reported_at >= _PROGRESS_S:
            self.report()

    def report(self) -> None:
        """Report now."""
        self._reported_at = time.monotonic()
        send({"kind": "progress", "done": self._done, "total": self._total})


def send(message: dict[str, Any]) -> None:
    """Send one message to the caller."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def fail(reason: str) -> NoReturn:
    """Send the reason of a failure, and exit."""
    send({"kind": "error", "reason": reason})
    sys.exit(1)


def describe_os_error(error: OSError) -> str:
    """A system error as one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: {error.filename or HOME} could not be written; the part received is kept for the next try"
    return f"{error.filename or 'the node'}: {error.strerror or error}"


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Allow one change at a time: a second one waits for up to a minute."""
    HOME.mkdir(parents=True, exist_ok=True)
    handle = os.open(HOME / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    end = time.monotonic() + _LOCK_S
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Refused(f"another deployment has been running here for over {_LOCK_S} s: try again") from None
                time.sleep(0.2)
        yield
    finally:
        os.close(handle)


def checked(value: Any, allowed: re.Pattern[str]) -> str:
    """Check that a value of a request has the allowed form, and return it."""
    if not isinstance(value, str) or allowed.fullmatch(value) is None or ".." in value:
        raise Refused(f"the request has {str(value)[:100]!r}, which is not allowed there")
    return value


def write(path: Path, content: bytes) -> None:
    """Replace a file atomically."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
