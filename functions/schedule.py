"""What `@on.schedule` declares: times in a time zone, and the one event of each tick."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

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


def show_schedules(schedules: Iterable[Schedule]) -> str:
    """Schedules as `read_schedules` reads them, on one line.

    Raises:
        ValueError: two have the same name.
    """
    found = list(schedules)
    names = [schedule.name for schedule in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"schedule {twice[0]!r} is there twice: rename the handler of one")
    return msgspec.json.encode(found).decode()


def read_schedules(text: str) -> tuple[Schedule, ...]:
    """What `bongsu function schedules` printed; empty for an empty text."""
    return msgspec.json.decode(text.encode(), type=tuple[Schedule, ...]) if text else ()


def due_of_job(job: str) -> datetime:
    """When the Job of a CronJob was due: Kubernetes ends its name in minutes since 1970, as in `nightly-29345678`.

    Raises:
        ValueError: the name does not end so.
    """
    minutes = job.rpartition("-")[2]
    if not (minutes.isdecimal() and len(minutes) == 8):
        raise ValueError(f"the name of a CronJob's Job ends in its time, as nightly-29345678 does, got {job!r}")
    return datetime.fromtimestamp(int(minutes) * 60, UTC)


def tick(name: str, due_at: datetime) -> Event:
    """The event of a tick: the same for each who publishes it, so that a repeat has the same id.

    Args:
        name: the schedule's.
        due_at: when it was due, whole minutes (UTC).
    """
    due_at = due_at.astimezone(UTC).replace(second=0, microsecond=0)
    return Tick(id=f"{name[:41]}-{due_at:%Y%m%dT%H%MZ}", type=TICK + name, schedule=name, due_at=due_at)
