"""The audit log of a fleet, `audit.jsonl`: append-only; every command that changes something writes a line."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edge.state_file import locked


def record(folder: Path, action: str, subject: str, **facts: str | int | None) -> None:
    """Append one line.

    Args:
        folder: the fleet's folder.
        action: such as `node_added`; past tense, as in logs.
        subject: the node or version that was changed.
        facts: further details; never a secret.
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = msgspec.json.encode({"at": at, "by": _who(), "action": action, "subject": subject, **facts}) + b"\n"
    path = folder / "audit.jsonl"
    with locked(path):
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(line)


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"
