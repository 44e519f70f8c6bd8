"""Notices for readers, encoded once for all of them: from records, and as server-sent events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from api.views import camera_feature, feed_item, incident_feature
from functions.event import Hazard
from store.records import Camera, Incident, Post

# The start of a stream: the reconnection delay, and a comment, as some proxies wait for a first byte.
HELLO = b"retry: 1000\n: open\n\n"

Name = Literal["incident", "post", "camera", "pipeline"]


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """A message for readers."""

    name: Name
    revision: int | None
    """The revision after which a reader resumes; None if it cannot resume from this."""
    data: bytes
    """JSON."""
    hazard: Hazard | None = None
    position: tuple[float, float] | None = None
    """Longitude and latitude of its incident."""

    def event(self) -> bytes:
        """The notice as a server-sent event."""
        # JSON has no unescaped line breaks, so one `data:` line is enough.
        number = b"" if self.revision is None else b"id: %d\n" % self.revision
        return b"%sevent: %s\ndata: %s\n\n" % (number, self.name.encode(), self.data)


@dataclass(slots=True, eq=False)
class Batch:
    """Consecutive notices, shared by all readers at the same position."""

    notices: tuple[Notice, ...]
    end: int
    """Position of its end in the log."""
    _events: bytes = b""

    def events(self) -> bytes:
        """The notices as server-sent events, joined once."""
        if not self._events:
            self._events = b"".join(notice.event() for notice in self.notices)
        return self._events


@dataclass(frozen=True, slots=True)
class NoticeBuilder:
    """Builds notices from records of the store."""

    quiet_s: float
    public_url: str = ""
    """The base of posts' addresses; its path is the prefix of those of incidents and cameras."""

    @property
    def prefix(self) -> str:
        """The path of the public URL."""
        return urlsplit(self.public_url).path

    def build(self, items: Sequence[Incident | Post | Camera]) -> list[Notice]:
        """The notices for changed records, in order."""
        return [notice for item in items if (notice := self._show(item)) is not None]

    def build_closing(self, incident: Incident) -> Notice:
        """The notice that an incident closed: by time, without a changed row, so it has no revision."""
        return self._show_incident(incident, None)

    def build_pipeline(self, state: Mapping[str, Any]) -> Notice:
        """The notice with the current queues and replicas; readers that reconnect get the then current ones."""
        return Notice("pipeline", None, msgspec.json.encode(state))

    def _show(self, item: Incident | Post | Camera) -> Notice | None:
        match item:
            case Incident():
                return self._show_incident(item, item.revision)
            case Camera():
                return Notice("camera", item.revision, msgspec.json.encode(camera_feature(item, self.prefix)))
            case Post(channel="feed"):
                content = msgspec.json.encode(feed_item(item, self.public_url))
                return Notice("post", item.revision, content, item.incident.hazard, _position(item.incident))
            case _:
                return None

    def _show_incident(self, incident: Incident, revision: int | None) -> Notice:
        data = msgspec.json.encode(incident_feature(incident, self.quiet_s, prefix=self.prefix))
        return Notice("incident", revision, data, incident.hazard, _position(incident))


def _position(incident: Incident) -> tuple[float, float]:
    return incident.place.lon, incident.place.lat
