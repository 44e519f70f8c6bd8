"""A file that its owner may change while a service runs: the key file, the file of roads, the status of a fleet."""

from __future__ import annotations

from pathlib import Path


class ChangedFile:
    """Reads a file again only after it was replaced or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None

    def read(self) -> bytes | None:
        """The content; None if it is still what was read last.

        Content that the caller cannot use counts as read, so that it is reported once and not with each request.

        Raises:
            OSError: the file cannot be read.
        """
        found = self.path.stat()
        stamp = found.st_mtime_ns, found.st_ino
        if stamp == self._stamp:
            return None
        content = self.path.read_bytes()
        self._stamp = stamp
        return content
