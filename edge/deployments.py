"""Deployments as they go, a file each in `deployments/`, so that others can watch what one command does."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from edge.audit import who
from edge.progress import ProgressView
from edge.state_file import write_private
from web.fleet import DeploymentStatus, NodeProgress

KEPT = 50
_WRITE_S = 0.25
_FILE = re.compile(r"\d{8}T\d{12}-[0-9a-f]{4}\.json")


class _Kept(msgspec.Struct):
    """The file: what readers see, and which process is at it."""

    status: DeploymentStatus
    host: str
    pid: int


class Recorder:
    """Writes down how a deployment goes, and shows it on a `ProgressView` if there is one."""

    def __init__(
        self,
        folder: Path,
        action: Literal["deploy", "rollback"],
        model: str,
        version: str,
        nodes: Sequence[str],
        *,
        view: ProgressView | None = None,
    ) -> None:
        """Begin a deployment of `version` to `nodes`; `folder` is the fleet's."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S%f}-{os.urandom(2).hex()}"
        self._path = folder / "deployments" / f"{name}.json"
        self._view = view
        self._rows = {node: NodeProgress(node=node) for node in nodes}
        self.status = DeploymentStatus(
            id=name,
            action=action,
            model=model,
            version=version,
            by=who(),
            begun_at=now,
            nodes=list(self._rows.values()),
        )
        self._written_at = 0.0
        self._write()
        _forget_old(self._path.parent)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.status.ended_at is None:
            self.end("" if kind is None else f"stopped by {kind.__name__}: the same command goes on from there")

    def state(self, node: str, state: str, error: str = "") -> None:
        """A node has come to a state, such as `pulling` or `in use`."""
        row = self._rows[node]
        row.state, row.error = state, error
        self._write()
        if self._view is not None:
            self._view.state(node, state)

    def bytes(self, node: str, done: int, total: int) -> None:
        """A node has so many bytes of all."""
        row = self._rows[node]
        row.state, row.done_bytes, row.total_bytes = "pulling", done, total
        if time.monotonic() - self._written_at >= _WRITE_S:
            self._write()
        if self._view is not None:
            self._view.bytes(node, done, total)

    def count(self, node: str, bursts: int, of: int) -> None:
        """A node that is watched has looked at so many bursts of all."""
        row = self._rows[node]
        if row.bursts != bursts:
            row.bursts, row.total_bursts = bursts, of
            self._write()

    def end(self, reason: str = "") -> None:
        """It is over; `reason` says why nodes do not have the version, where that is not each node's own error."""
        failed = [row for row in self._rows.values() if row.error]
        self.status.state = "failed" if failed or reason else "done"
        self.status.reason = reason
        self.status.ended_at = datetime.now(UTC)
        self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        kept = _Kept(self.status, socket.gethostname(), os.getpid())
        write_private(self._path, msgspec.json.encode(kept))


def read_deployments(folder: Path) -> list[DeploymentStatus]:
    """The deployments of a fleet, newest first; one whose process is gone without an end is `interrupted`."""
    found = []
    for path in _files(folder / "deployments"):
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # deleted, or of another release
            kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
            if kept.status.state == "running" and kept.host == socket.gethostname() and not _is_alive(kept.pid):
                kept.status.state = "interrupted"
                kept.status.reason = "its command ended in the middle: the same command goes on from there"
            found.append(kept.status)
    return found


def _files(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if _FILE.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, reverse=True)


def _forget_old(folder: Path) -> None:
    for path in _files(folder)[KEPT:]:
        path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
