"""The hours in which a reader is not to be woken, by the clock of where the reader lives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

_TIME = r"^([01]\d|2[0-3]):[0-5]\d$"

TimeOfDay = Annotated[str, Meta(pattern=_TIME)]


class QuietHours(Struct, frozen=True, forbid_unknown_fields=True):
    """From a time of day until another, over midnight where the second is the earlier one."""

    begin: TimeOfDay = msgspec.field(name="from")
    end: TimeOfDay = msgspec.field(name="until")
    timezone: Annotated[str, Meta(max_length=64)]
    """IANA name, such as Asia/Seoul."""

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"timezone must be a name such as Asia/Seoul, got {self.timezone!r}") from None
        if self.begin == self.end:
            raise ValueError(f"quiet hours must end at another time than they begin, got {self.begin} for both")

    def hold(self, now: datetime) -> bool:
        """Whether it is quiet at that time (UTC)."""
        here = now.astimezone(ZoneInfo(self.timezone)).strftime("%H:%M")
        if self.begin < self.end:
            return self.begin <= here < self.end
        return here >= self.begin or here < self.end
