"""What a node says, and how it keeps its files; the other modules of this package use it."""

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

HOME = Path(os.environ.get("BONGSU_NODE_HOME") or Path.home() / ".bongsu")
"""`BONGSU_NODE_HOME` is for the machine that the fleet is managed on (edge/here.py)."""
CHUNK_BYTES = 1 << 18
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
FILE = re.compile(r"[^./\\\0][^/\\\0]{0,199}")
_LOCK_S = 60
_PROGRESS_S = 0.25


class Refused(Exception):
    """The node will not do it; the message is one line for the operator."""


class Progress:
    """Tells how far a transfer is, a few times a second."""

    def __init__(self, total: int, done: int) -> None:
        """Tell at once that `done` of `total` bytes are here already."""
        self._total, self._done = total, done
        self.tell()

    def add(self, count: int) -> None:
        """Count bytes that came, and tell of them if it is time to."""
        self._done += count
        if time.monotonic() - self._told_at >= _PROGRESS_S:
            self.tell()

    def tell(self) -> None:
        """Tell now."""
        self._told_at = time.monotonic()
        say({"kind": "progress", "done": self._done, "total": self._total})


def say(message: dict[str, Any]) -> None:
    """Send one message to whoever asked."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def fail(reason: str) -> NoReturn:
    """Send why nothing came of it, and end."""
    say({"kind": "error", "reason": reason})
    sys.exit(1)


def say_os_error(error: OSError) -> str:
    """One line for an error of the system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: {error.filename or HOME} could not be written; what came so far is kept for the next try"
    return f"{error.filename or 'the node'}: {error.strerror or error}"


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """One change at a time: a second one waits a minute."""
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
                    raise Refused(
                        f"another deployment has been under way here for over {_LOCK_S} s: try again"
                    ) from None
                time.sleep(0.2)
        yield
    finally:
        os.close(handle)


def checked(value: Any, allowed: re.Pattern[str]) -> str:
    """A value of a request again, if it is of the form that is allowed for it."""
    if not isinstance(value, str) or allowed.fullmatch(value) is None or ".." in value:
        raise Refused(f"the request holds {str(value)[:100]!r}, which is not allowed there")
    return value


def write(path: Path, content: bytes) -> None:
    """Replace a file in one step."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
