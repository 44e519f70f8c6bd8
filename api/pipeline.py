"""Reads the autoscaler's status of queues and replicas from its file, for the page's strip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import structlog

log = structlog.get_logger()


class PipelineFile:
    """The status file of the autoscaler on this machine, if there is one."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._was_broken = False

    def read(self) -> dict[str, Any]:
        """Its current content; an empty pipeline if there is no readable file."""
        try:
            content = self._path.read_bytes() if self._path else b""
        except OSError:
            # No autoscaler runs here, or not yet.
            content = b""
        if not content:
            return _empty()
        try:
            state = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError as error:
            if not self._was_broken:
                log.warning("pipeline_file_unreadable", path=str(self._path), reason=str(error))
            self._was_broken = True
            return _empty()
        self._was_broken = False
        return state


def _empty() -> dict[str, Any]:
    return {"at": None, "functions": []}
