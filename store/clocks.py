"""Limits event times that lie in the future because a sender's clock is wrong; used by this package alone."""

from __future__ import annotations

from datetime import datetime, timedelta

# Clocks synchronized by NTP differ by less.
_AHEAD = timedelta(seconds=60)


def clamp_future_time(claimed: datetime, now: datetime) -> datetime:
    """The time that an event claims, or `now` if that is in the future.

    The sender's clock is then ahead, by nine hours if it takes Korean time for UTC. Until its future time had come, an
    incident would stay open and a camera would ignore correct reports.
    """
    return now if claimed - now > _AHEAD else claimed
