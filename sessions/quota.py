"""Limits of sessions for a client, an owner and the line; the allocator checks before and after it records one."""

from __future__ import annotations

from sessions.backend import View
from sessions.problems import ProblemError
from sessions.records import Session
from sessions.settings import Settings

_REMEDY = "end one of them with DELETE /sessions/ID"


def check(owner: str, client: str, view: View, settings: Settings, created: Session | None = None) -> None:
    """Check the quota.

    Args:
        owner: the session's owner.
        client: the client's own name.
        view: all sessions.
        settings: the limits.
        created: the session, once it is recorded: only earlier ones count, so that of simultaneous requests exactly as
            many succeed as are allowed, whichever receive server they came to.

    Raises:
        ProblemError: 429, or 503 if too many wait already.
    """
    before = [s for s in view.sessions.values() if created is None or s.order < created.order]
    of_owner = [s for s in before if s.owner == owner]
    of_client = sum(1 for s in of_owner if s.client == client)
    if of_client >= settings.sessions_per_client:
        detail = f"client {client!r} has the {settings.sessions_per_client} sessions that one client may have"
        raise ProblemError(429, "quota", detail, _REMEDY, {"Retry-After": "10"})
    if len(of_owner) >= settings.sessions_per_owner:
        detail = f"{owner} has the {settings.sessions_per_owner} sessions that one key or address may have"
        raise ProblemError(429, "quota", detail, _REMEDY, {"Retry-After": "10"})
    waiting = sum(1 for s in before if not s.worker and not s.upstream)
    if waiting >= settings.sessions_line_max:
        raise ProblemError(
            503, "line_full", f"{waiting} sessions wait already", "try again later", {"Retry-After": "30"}
        )
