"""Writes the files of a site so that a reader sees the old text or the new, never a part of one."""

from __future__ import annotations

from pathlib import Path

from functions.files import replace_file


def replace_text(path: Path, text: str, mode: int | None = None) -> None:
    """Put `text` in place of the file in one step; a link is followed, and the file keeps its permissions.

    Args:
        path: the file; it need not exist yet.
        text: all of it, written as UTF-8.
        mode: its permissions; None: those that it has, 0o644 for a new one.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve()
    if mode is None:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    replace_file(path, text.encode(), mode=mode)
