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

    def estimate_s(self, place: int, now: datetime, start_s: float, ttl_max_s: float) -> float:
        """The most seconds until the session at that place has a worker.

        Args:
            place: from 1.
            now: the time.
            start_s: where no session has a worker, so that one is about to start.
            ttl_max_s: the longest time of a session.
        """
        if not self.ends:
            return start_s
        # If more clients wait than sessions will end, the others wait for a later turn of those.
        rounds, left = divmod(place - 1, len(self.ends))
        return max(0.0, (self.ends[left] - now).total_seconds() + rounds * ttl_max_s)

    def read(self, view: View) -> Line:
        """Update from the view, and return itself."""
        if self._version != view.version:
            self._version = view.version
            waiting = (s for s in view.sessions.values() if not s.worker and not s.upstream)
            self.waiting = sorted(waiting, key=lambda s: s.order)
            self.places = {session.id: place for place, session in enumerate(self.waiting, 1)}
            self.ends = sorted(s.expires_at for s in view.sessions.values() if s.worker)
        return self
