"""What readers are told, encoded once for all of them: records as notices, notices as server-sent events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from api.views import camera_feature, feed_item, incident_feature
from functions.event import Hazard
from store.records import Camera, Incident, Post

# A reader's first word: how soon to come back, and that the stream is open (some proxies wait for a first byte).
HELLO = b"retry: 1000\n: open\n\n"

Name = Literal["incident", "post", "camera", "pipeline", "node", "deployment", "models"]


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """Something that readers are told."""

    name: Name
    revision: int | None
    """What a reader resumes after; None for what is not resumed from."""
    data: bytes
    """JSON."""
    hazard: Hazard | None = None
    position: tuple[float, float] | None = None
    """Longitude and latitude of the incident that it is about."""

    def event(self) -> bytes:
        """It as a server-sent event."""
        # JSON has no line breaks outside of escapes, so one `data:` line holds it.
        number = b"" if self.revision is None else b"id: %d\n" % self.revision
        return b"%sevent: %s\ndata: %s\n\n" % (number, self.name.encode(), self.data)


@dataclass(slots=True, eq=False)
class Batch:
    """Notices that follow each other, shared by all readers that stand at the same place."""

    notices: tuple[Notice, ...]
    end: int
    """Where in the log it ends."""
    _events: bytes = b""

    def events(self) -> bytes:
        """They as server-sent events, put together once."""
        if not self._events:
            self._events = b"".join(notice.event() for notice in self.notices)
        return self._events


@dataclass(frozen=True, slots=True)
class Teller:
    """Makes notices of what the store says."""

    quiet_s: float
    public_url: str = ""
    """What addresses of posts begin with, its path those of incidents and cameras."""

    @property
    def prefix(self) -> str:
        """The path of the public URL."""
        return urlsplit(self.public_url).path

    def tell(self, items: Sequence[Incident | Post | Camera]) -> list[Notice]:
        """Of what changed, in its order, what readers are told."""
        return [notice for item in items if (notice := self._show(item)) is not None]

    def tell_closing(self, incident: Incident) -> Notice:
        """An incident closes because time passes: no row changes, so its notice has no revision to resume from."""
        return self._show_incident(incident, None)

    def tell_pipeline(self, state: Mapping[str, Any]) -> Notice:
        """Queues and replicas as they are now; who comes back is told those that are then."""
        return Notice("pipeline", None, msgspec.json.encode(state))

    def _show(self, item: Incident | Post | Camera) -> Notice | None:
        match item:
            case Incident():
                return self._show_incident(item, item.revision)
            case Camera():
                return Notice("camera", item.revision, msgspec.json.encode(camera_feature(item, self.prefix)))
            case Post(channel="feed"):
                told = msgspec.json.encode(feed_item(item, self.public_url))
                return Notice("post", item.revision, told, item.incident.hazard, _position(item.incident))
            case _:
                return None

    def _show_incident(self, incident: Incident, revision: int | None) -> Notice:
        data = msgspec.json.encode(incident_feature(incident, self.quiet_s, prefix=self.prefix))
        return Notice("incident", revision, data, incident.hazard, _position(incident))


def _position(incident: Incident) -> tuple[float, float]:
    return incident.place.lon, incident.place.lat
