"""The state of the fleet, from the file that its service keeps (`python -m edge.service`); web/fleet.py is its form."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from web.fleet import FleetStatus

log = structlog.get_logger()


class FleetStatusFile:
    """The status file of a fleet, if there is one; read again when it was replaced."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._stamp: tuple[int, int] | None = None
        self._status = FleetStatus()

    @property
    def is_there(self) -> bool:
        """Whether this site tells of a fleet at all."""
        return self._path is not None

    def read(self) -> FleetStatus:
        """Its content now; what was last read where it cannot be, and an empty fleet before that."""
        if self._path is None:
            return self._status
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._stamp = stamp
                self._status = msgspec.json.decode(self._path.read_bytes(), type=FleetStatus)
        except FileNotFoundError:
            pass  # nothing watches the fleet yet
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("fleet_file_unreadable", path=str(self._path), reason=str(error))
        return self._status
