"""What the store returns: incidents, posts, cameras and sightings as plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from functions.event import Caption, Detection, Hazard, Place, Stage

Verdict = Literal["acknowledged", "false_alarm"]


@dataclass(frozen=True, slots=True)
class Review:
    """An operator's verdict on an incident."""

    verdict: Verdict
    by: str
    """Name of the key."""
    at: datetime
    note: str


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
    """Seconds from the capture of the sighting that opened it until it was recorded."""
    caption: Caption | None
    snapshot_key: str | None
    revision: int
    late: bool = False
    """Its first sighting was published late because the broker could not be reached."""
    review: Review | None = None
    reviewed_at: datetime | None = None
    """When a review was last given or taken back."""

    is_held: bool = False
    """Its alert is held back until an operator reviews it."""

    @property
    def is_false_alarm(self) -> bool:
        """Whether a reviewer saw no hazard."""
        return self.review is not None and self.review.verdict == "false_alarm"

    @property
    def is_public(self) -> bool:
        """Whether everybody may see it: it is neither a false alarm, nor is its alert held back."""
        return not self.is_false_alarm and not self.is_held

    def is_open(self, now: datetime, quiet_s: float) -> bool:
        """Whether it goes on: another sighting now would extend it, and everybody may see it."""
        return self.is_public and now - self.last_seen <= timedelta(seconds=quiet_s)


@dataclass(frozen=True, slots=True)
class Post:
    """An alert that went out on one channel."""

    id: int
    channel: str
    incident: Incident
    event_id: str
    """The event that it was first posted for."""
    claimed_at: datetime
    posted_at: datetime
    text: Caption
    snapshot_key: str | None
    reference: str
    revision: int
    location_key: str | None = None
    """Which of the pictures is the map of its place, if it was posted with one."""


@dataclass(frozen=True, slots=True)
class Camera:
    """The last reported state of one camera."""

    id: str
    place: Place
    status: str
    changed_at: datetime
    revision: int
    snapshot_key: str | None = None
    """Its newest public picture."""
    snapshot_at: datetime | None = None


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
    detections: tuple[Detection, ...] = ()
    """Boxes in its picture, the hazard first. Empty for rows older than schema version 0003."""
    snapshot_key: str | None = None
    """Its public picture, if one was stored."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage for each function that handled it, in order of completion, whatever its route was."""
        first: dict[str, Stage] = {}
        for stage in (*self.trace, *self.caption_trace):
            first.setdefault(stage.name, stage)
        return tuple(sorted(first.values(), key=lambda stage: stage.done_at))


@dataclass(frozen=True, slots=True)
class Position:
    """The last incident of a page, in list order: last seen, then id, newest first."""

    last_seen: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Incidents as of a revision."""

    revision: int
    items: tuple[Incident, ...]
    next: Position | None = None
    """Where the next page begins; None on the last."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What became visible after a revision, in order; `revision` is the last one covered."""

    revision: int
    items: tuple[Incident | Post | Camera, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to post an incident on a channel."""

    outcome: Literal["ours", "posted", "busy", "withdrawn"]
    """Post it now; it went out already; another worker is posting it; it is a false alarm and is not posted."""
    text: Caption | None = None
    """The text to post, if the claim is ours: an earlier attempt's text, if the outcome of that is unknown."""
    fresh_at: datetime | None = None
    """When it was taken, if it is ours and nobody held it before: only then it is certain that nothing went out."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a hook, and what became of it."""

    id: str
    hook: str
    caller: str
    """Name of the key that it came with; empty where it came without one."""
    body_digest: str
    state: Literal["new", "waiting", "done", "failed"]
    """ "new" until its event is published."""
    received_at: datetime
    expires_at: datetime
    """When it is forgotten."""
    answered_at: datetime | None = None
    result: str | None = None
    """What the handler returned, as JSON."""
    reason: str | None = None
    """Why it failed."""

    @property
    def is_answered(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("done", "failed")
