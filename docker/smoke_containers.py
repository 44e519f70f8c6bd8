"""What the smoke tests share: how a container is confined, ports, and waiting."""

from __future__ import annotations

import contextlib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable

# As Pod Security "restricted" has it on a cluster.
RESTRICTED = [
    "--network", "host", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--user", "10001:10001",
]  # fmt: skip


def get(url: str) -> str:
    """The answer of a URL; empty if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return ""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(is_true: Callable[[], bool], timeout_s: float) -> None:
    """Poll until a condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError):
            if is_true():
                return
        time.sleep(0.3)
    raise TimeoutError(f"not within {timeout_s} s")
