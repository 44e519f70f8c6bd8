"""What the store gives out: incidents, posts, cameras and sightings as plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from functions.event import Caption, Hazard, Place, Stage


@dataclass(frozen=True, slots=True)
class Incident:
    """One hazard at one camera, from first to last sighting."""

    id: int
    camera: str
    hazard: Hazard
    place: Place
    first_seen: datetime
    last_seen: datetime
    confidence: float
    """Highest of all sightings."""
    sightings: int
    pin_s: float
    """From the capture of the sighting that opened it to its record."""
    caption: Caption | None
    snapshot_key: str | None
    revision: int

    def is_open(self, now: datetime, quiet_s: float) -> bool:
        """Whether another sighting now would extend it."""
        return now - self.last_seen <= timedelta(seconds=quiet_s)


@dataclass(frozen=True, slots=True)
class Post:
    """An alert that went out on one channel."""

    id: int
    channel: str
    incident: Incident
    event_id: str
    """The event that it told of first."""
    claimed_at: datetime
    posted_at: datetime
    text: Caption
    snapshot_key: str | None
    reference: str
    revision: int


@dataclass(frozen=True, slots=True)
class Camera:
    """What was last heard of one camera."""

    id: str
    place: Place
    status: str
    changed_at: datetime
    revision: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """One event as it was recorded."""

    event_id: str
    hazard: Hazard
    incident_id: int
    captured_at: datetime
    recorded_at: datetime
    confidence: float
    trace: tuple[Stage, ...]
    caption_trace: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Incidents as they stand at a revision."""

    revision: int
    items: tuple[Incident, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What became visible after a revision, in order; `revision` is the last one covered."""

    revision: int
    items: tuple[Incident | Post | Camera, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to post an incident on a channel."""

    outcome: Literal["ours", "posted", "busy"]
    """Post it now; it went out already; another worker is at it."""
    text: Caption | None = None
    """What is to be said, if the claim is ours: an earlier attempt's words where nobody knows what became of that."""
    fresh_at: datetime | None = None
    """When it was taken, if it is ours and nobody had it before: only then can nothing have gone out."""
