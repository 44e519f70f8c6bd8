"""The state folder of one machine: its paths, and the lock that keeps it to one `bongsu run`."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from functions.push_keys import new_key as new_push_key
from functions.push_keys import public_of
from functions.signature import new_private_key, public_key_of

_NEEDED_BYTES = 100_000_000
_FOLDERS = ("snapshots", "logs", "prometheus", "sessions", "fleet")
_FILES = ("broker.db", "bongsu.db", "run.lock", "scale.json", "caption.key", "push.key")
"""Prefixes of our files' names: SQLite adds further files beside its own."""


class StateError(Exception):
    """The state folder cannot be used; one line with the path and the fix."""


@dataclass(frozen=True, slots=True)
class State:
    """Paths in the state folder, all absolute."""

    root: Path

    @property
    def broker_url(self) -> str:
        return f"sqlite:///{self.root / 'broker.db'}"

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.root / 'bongsu.db'}"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def prometheus(self) -> Path:
        return self.root / "prometheus"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def caption_key(self) -> Path:
        return self.root / "caption.key"

    @property
    def push_key(self) -> Path:
        return self.root / "push.key"

    @property
    def status_file(self) -> Path:
        return self.root / "scale.json"


def open_state(root: Path) -> tuple[State, IO[str]]:
    """Prepare the folder, and lock it for this process.

    From then on this process and its children create files that only their owner can read: the broker's file holds
    unredacted frames. Files of an older version that others can read are restricted too; files of other users are not
    changed.

    Returns:
        The state, and the lock file: the lock is held until it is closed or this process ends in any way.

    Raises:
        StateError: not writable, full, or in use.
    """
    state = State(root.absolute())
    os.umask(0o077)
    try:
        for folder in (state.root, state.snapshots, state.logs, state.prometheus):
            folder.mkdir(parents=True, exist_ok=True)
        _close_to_others(state.root)
        lock = _lock(state.root / "run.lock")
        # Metrics and status of the last run: this run counts from zero, as a restarted process does.
        for path in (*state.prometheus.iterdir(), state.status_file):
            path.unlink(missing_ok=True)
        probe = state.root / ".probe"
        probe.write_bytes(bytes(65_536))
        probe.unlink()
    except OSError as error:
        where = error.filename or state.root
        raise StateError(f"--state {root}: cannot write {where} ({error.strerror}): choose another folder") from None
    free = shutil.disk_usage(state.root).free
    if free < _NEEDED_BYTES:
        raise StateError(
            f"--state {root}: only {free // 1_000_000} MB free, needs {_NEEDED_BYTES // 1_000_000}: "
            "free some space or choose another folder"
        )
    return state, lock


def caption_keys(state: State) -> tuple[str, str]:
    """The captioner's key pair of this machine, made at the first run: the private key, then the public one.

    Raises:
        StateError: the file cannot be used.
    """
    return _key_pair(state.caption_key, new_private_key, public_key_of)


def push_keys(state: State) -> tuple[str, str]:
    """This machine's key pair for warnings by Web Push, made at the first run: the private key, then the public one.

    Raises:
        StateError: the file cannot be used.
    """
    return _key_pair(state.push_key, lambda: new_push_key()[0], public_of)


def _key_pair(path: Path, make: Callable[[], str], public_of: Callable[[str], str]) -> tuple[str, str]:
    try:
        if not path.exists():
            partial = path.with_suffix(".partial")
            partial.touch(mode=0o600)
            partial.write_text(make() + "\n", encoding="ascii")
            partial.replace(path)
        private = path.read_text(encoding="ascii").strip()
        return private, public_of(private)
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: {error}: delete it, and a new key is made") from None


def _close_to_others(root: Path) -> None:
    """Remove the rights of group and others to our own files, and to the folder if it holds nothing else."""
    entries = list(root.iterdir())
    ours = [entry for entry in entries if entry.name in _FOLDERS or entry.name.startswith(_FILES)]
    for entry in ours:
        # A folder that is restricted already protects its files: nothing more to check.
        if entry.name in _FOLDERS and entry.stat().st_mode & 0o077:
            for path in entry.rglob("*"):
                _close(path)
        _close(entry)
    if len(ours) == len(entries):
        _close(root)


def _close(path: Path) -> None:
    if not path.is_symlink():
        path.chmod(path.stat().st_mode & 0o700)


def _lock(path: Path) -> IO[str]:
    lock = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise StateError(
            f"--state {path.parent}: already in use by `bongsu run` with process id {pid}: "
            "stop that one, or choose another folder"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
