"""The JSON of a session, for its client and for operators."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request

from sessions.records import Session
from sessions.site import SessionSite


def describe_session(
    session: Session, site: SessionSite, request: Request, *, with_token: bool = False
) -> dict[str, Any]:
    """A session as JSON for its client.

    `state` is `ready`, `starting` or `waiting`; a waiting one has `place` (1 is the next) and `estimate_s`, the maximum
    seconds until it has a worker. `token` opens the WebSocket at `url` and must be kept secret.
    """
    allocator = site.allocator
    described: dict[str, Any] = {
        "id": session.id,
        "kind": session.kind,
        "model": session.model,
        "client": session.client,
        "created_at": _utc(session.created_at),
        "expires_at": _utc(session.expires_at),
        "where": "data-centre" if session.upstream else site.settings.sessions_where,
        "url": session.upstream_url or f"{home_base(site, request)}/s/{session.id}",
    }
    worker = allocator.backend.view.worker_of(session)
    if session.upstream:
        described["state"] = "ready"
    elif worker is None:
        place, estimate_s = allocator.place(session)
        described |= {"state": "waiting", "place": place, "estimate_s": round(estimate_s, 1)}
    else:
        described |= {"state": "ready" if worker.state == "ready" else "starting", "node": worker.node}
    if with_token:
        described["token"] = session.upstream_token if session.upstream else allocator.tokens.token_of(session.id)
    return described


def describe_for_operator(session: Session, site: SessionSite, request: Request) -> dict[str, Any]:
    """The same for operators, with owner, worker and statistics, and never the token."""
    status = site.keeper.statuses.get(session.id)
    described = describe_session(session, site, request) | {
        "owner": session.owner,
        "worker": session.worker,
        "restarts": session.restarts,
    }
    if status is not None:
        described |= {
            "is_connected": status.is_connected,
            "received": status.received,
            "answered": status.answered,
            "dropped": status.dropped,
            "p50_ms": status.p50_ms,
            "p99_ms": status.p99_ms,
            "idle_s": status.idle_s,
        }
    return described


def home_base(site: SessionSite, request: Request) -> str:
    """Address of this receive server's WebSockets, as this client reaches them: `ws://host` or `wss://host`."""
    url = site.public_url or f"{request.url.scheme}://{request.headers.get('host', 'localhost')}"
    return f"ws{url.removeprefix('http')}"


def _utc(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
