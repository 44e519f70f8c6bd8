"""When something was seen, where the clock of who saw it is wrong; the desks beside it use it."""

from __future__ import annotations

from datetime import datetime, timedelta

# Machines that keep time by the network differ by less.
_AHEAD = timedelta(seconds=60)


def clamp_future_time(told: datetime, now: datetime) -> datetime:
    """The time that an event tells, or now where it tells one to come: its clock is ahead, by nine hours if it keeps
    Korean time for UTC. An incident of the future would stay open, and a camera deaf to all that is true, until then.
    """
    return now if told - now > _AHEAD else told
