"""What is written: the log file of each child, bounded, and on the terminal what a person wants to know."""

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
"""A log is turned over at this size, one old one is kept."""
_LINE_BYTES = 64_000
_REPEAT_S = 10.0
"""The same warning of the same child is shown at most so often."""
_SHOWN = ("warning", "error", "critical")
_HIDDEN_KEYS = {"event", "level", "timestamp", "service", "exception", "function", "logger"}


class Output:
    """The terminal and the folder of logs."""

    def __init__(self, folder: Path, write: Callable[[str], object] | None = None) -> None:
        self._folder = folder
        self._write = write or _print
        self._shown: dict[tuple[str, str], tuple[float, int]] = {}

    def log_file(self, name: str) -> Path:
        """Where the output of the child of that name is kept."""
        return self._folder / f"{name}.log"

    def say(self, text: str) -> None:
        """Tell the person at the terminal, with the time of day."""
        self._write(f"{datetime.now():%H:%M:%S}  {text}")

    async def follow(self, name: str, reader: asyncio.StreamReader) -> str:
        """Keep a child's output until it closes it.

        Whatever a line holds, reading goes on: a child whose output nobody reads stands still once the pipe is full.

        Returns:
            Its last line that was not a structured log: of a crash, what it died of.
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
        """Show a structured warning; returns any other line's text."""
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
    with contextlib.suppress(OSError):  # the terminal was closed, or `bongsu run 2>&1 | head`: the work goes on
        print(line, file=sys.stderr, flush=True)
