"""What `@on.schedule` declares: times in a time zone, and the one event of each tick."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from functions.event import Event, Tick
from functions.event.requests import TICK

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_FIELD = re.compile(r"[0-9A-Za-z*/,-]+")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times at which a handler is called."""

    name: str
    """That of the handler."""
    cron: str
    """Minute, hour, day of month, month, day of week."""
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"the handler's name must match {_NAME.pattern}, got {self.name!r}: rename it")
        fields = self.cron.split()
        if len(fields) != 5 or not all(map(_FIELD.fullmatch, fields)):
            raise ValueError(f"times must be five fields as in '0 6 * * *', got {self.cron!r}")
        from zoneinfo import ZoneInfo  # only what has a schedule pays for it

        try:
            ZoneInfo(self.zone)
        except (ValueError, OSError, KeyError):
            raise ValueError(f"zone must be like Asia/Seoul, got {self.zone!r}") from None

    @property
    def type(self) -> str:
        """The type of its ticks: their routing key."""
        return TICK + self.name


def tick(name: str, due_at: datetime) -> Event:
    """The event of a tick: the same for each who publishes it, so that a repeat has the same id.

    Args:
        name: the schedule's.
        due_at: when it was due, whole minutes (UTC).
    """
    due_at = due_at.astimezone(UTC).replace(second=0, microsecond=0)
    return Tick(id=f"{name[:41]}-{due_at:%Y%m%dT%H%MZ}", type=TICK + name, schedule=name, due_at=due_at)
