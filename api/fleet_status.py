"""The state of the fleet, from the file that its service keeps (`python -m edge.service`); web/fleet.py is its form."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from web.changed_file import ChangedFile
from web.fleet import FleetStatus

log = structlog.get_logger()


class FleetStatusFile:
    """The status file of a fleet, if there is one; read again when it was replaced."""

    def __init__(self, path: str) -> None:
        self._file = ChangedFile(Path(path)) if path else None
        self._status = FleetStatus()

    @property
    def is_there(self) -> bool:
        """Whether this site tells of a fleet at all."""
        return self._file is not None

    def read(self) -> FleetStatus:
        """Its content now; what was last read where it cannot be, and an empty fleet before that."""
        if self._file is None:
            return self._status
        try:
            if (content := self._file.read()) is not None:
                self._status = msgspec.json.decode(content, type=FleetStatus)
        except FileNotFoundError:
            pass  # nothing watches the fleet yet
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("fleet_file_unreadable", path=str(self._file.path), reason=str(error))
        return self._status
