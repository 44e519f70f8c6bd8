"""The audit log of a fleet, `audit.jsonl`: append-only; every command that changes something writes a line."""

from __future__ import annotations

import contextlib
import getpass
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edge.state_file import locked
from web.fleet import AuditEntry

_LINE_BYTES = 600
"""More than a line has, as a rule."""


def record(folder: Path, action: str, subject: str, **facts: str | int | None) -> None:
    """Append one line.

    Args:
        folder: the fleet's folder.
        action: such as `node_added`; past tense, as in logs.
        subject: the node or version that was changed.
        facts: further details; never a secret.
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = msgspec.json.encode({"at": at, "by": who(), "action": action, "subject": subject, **facts}) + b"\n"
    path = folder / "audit.jsonl"
    with locked(path):
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(line)


def who() -> str:
    """Whose hand this is: the user of the system."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"


def read_newest(folder: Path, count: int) -> list[AuditEntry]:
    """The last entries, newest first; a line that was cut off by a crash is passed over."""
    try:
        with (folder / "audit.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - count * _LINE_BYTES))
            lines = file.read().splitlines()[-count:]
    except FileNotFoundError:
        return []
    found = []
    for line in reversed(lines):
        with contextlib.suppress(msgspec.MsgspecError):
            facts = msgspec.json.decode(line, type=dict[str, str | int | None])
            known = {name: facts.pop(name, "") for name in ("at", "by", "action", "subject")}
            found.append(msgspec.convert({**known, "facts": facts}, AuditEntry))
    return found
