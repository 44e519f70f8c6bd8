"""The line of sessions that wait for a worker; the allocator serves it, and reads places from it."""

from __future__ import annotations

from datetime import datetime

from sessions.backend import View
from sessions.records import Session


class Line:
    """Waiting sessions, in order; sorted once for each change, after which every waiting client asks for its place."""

    def __init__(self) -> None:
        self.waiting: list[Session] = []
        self.places: dict[str, int] = {}
        """Place from 1, by session."""
        self.ends: list[datetime] = []
        """End times of the sessions that have a worker, earliest first."""
        self._version = -1

    def read(self, view: View) -> Line:
        """Update from the view, and return itself."""
        if self._version != view.version:
            self._version = view.version
            waiting = (s for s in view.sessions.values() if not s.worker and not s.upstream)
            self.waiting = sorted(waiting, key=lambda s: s.order)
            self.places = {session.id: place for place, session in enumerate(self.waiting, 1)}
            self.ends = sorted(s.expires_at for s in view.sessions.values() if s.worker)
        return self
