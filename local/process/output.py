"""Output of child processes: a bounded log file for each, and warnings on the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

_FILE_BYTES = 2_000_000
"""A log is rotated at this size; one old file is kept."""
_LINE_BYTES = 64_000
_REPEAT_S = 10.0
"""Shortest time between two equal warnings of one child on the terminal."""
_SHOWN = ("warning", "error", "critical")
_HIDDEN_KEYS = {"event", "level", "timestamp", "service", "exception", "function", "logger"}


class Output:
    """The terminal and the folder of logs."""

    def __init__(self, folder: Path, write: Callable[[str], object] | None = None) -> None:
        self._folder = folder
        self._write = write or _print
        self._shown: dict[tuple[str, str], tuple[float, int]] = {}

    def log_file(self, name: str) -> Path:
        """Path of the log of the child with that name."""
        return self._folder / f"{name}.log"

    def say(self, text: str) -> None:
        """Print a line on the terminal, with the time of day."""
        self._write(f"{datetime.now():%H:%M:%S}  {text}")

    async def follow(self, name: str, reader: asyncio.StreamReader) -> str:
        """Write a child's output to its log until the child closes it.

        Reading continues whatever a line holds: a child whose output is not read blocks once the pipe is full.

        Returns:
            Its last line that was not a structured log: after a crash, the reason.
        """
        last, rest = "", b""
        while chunk := await reader.read(_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_BYTES:
                lines, rest = [*lines, rest], b""
            self._keep(name, lines)
            for line in lines:
                last = self._show(name, line) or last
        if rest:
            self._keep(name, [rest])
            last = self._show(name, rest) or last
        return last

    def _keep(self, name: str, lines: list[bytes]) -> None:
        path = self.log_file(name)
        try:
            with path.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in lines))
                size = file.tell()
            if size > _FILE_BYTES:
                path.replace(path.with_suffix(".log.1"))
        except OSError as error:
            self._say_once("logs", f"cannot be written ({error.strerror}): free some space in {self._folder}")

    def _show(self, name: str, line: bytes) -> str:
        """Print a structured warning on the terminal; returns the text of any other line."""
        text = line.decode("utf-8", "replace").strip()
        entry = _parse(text)
        if entry is None:
            return text
        if entry.get("level") in _SHOWN:
            facts = "  ".join(f"{key}={_short(value)}" for key, value in entry.items() if key not in _HIDDEN_KEYS)
            what = str(entry["event"]).replace("_", " ")
            if "exception" in entry:
                *_, last_line = ["", *str(entry["exception"]).strip().splitlines()]
                facts = f"{facts}  {_short(last_line)}"
            self._say_once(name, f"{entry['level']}: {what}", facts)
        return ""

    def _say_once(self, name: str, what: str, facts: str = "") -> None:
        now = time.monotonic()
        shown_at, hidden = self._shown.get((name, what), (-_REPEAT_S, 0))
        if now - shown_at < _REPEAT_S:
            self._shown[name, what] = (shown_at, hidden + 1)
            return
        self._shown[name, what] = (now, 0)
        more = f"  (and {hidden} more like it)" if hidden else ""
        self.say(f"{name:<9}{what}  {facts}{more}".rstrip())


async def last_line(following: asyncio.Task[str]) -> str:
    """What `Output.follow` returned of a child that has ended, or "" where a grandchild still holds its pipe open."""
    await asyncio.wait([following], timeout=1.0)
    last = following.result() if following.done() else ""
    following.cancel()
    return last


def _parse(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and "event" in entry and "level" in entry else None


def _short(value: Any) -> str:
    text = str(value).replace("\n", " ")
    return text if len(text) <= 160 else f"{text[:157]}…"


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal was closed, or `bongsu run 2>&1 | head`: keep running
        print(line, file=sys.stderr, flush=True)
