"""How a session is told to its client and to the operator."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import Request

from sessions.records import Session
from sessions.site import SessionSite


def tell(session: Session, site: SessionSite, request: Request, *, with_token: bool = False) -> dict[str, Any]:
    """A session as its client gets it.

    `state` is `ready`, `starting` or `waiting`; a waiting one has `place` (1 is the next) and `estimate_s`, the seconds
    after which it has a worker at the latest. `token` opens the WebSocket at `url` and is for its holder alone.
    """
    allocator = site.allocator
    told: dict[str, Any] = {
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
        told["state"] = "ready"
    elif worker is None:
        place, estimate_s = allocator.place(session)
        told |= {"state": "waiting", "place": place, "estimate_s": round(estimate_s, 1)}
    else:
        told |= {"state": "ready" if worker.state == "ready" else "starting", "node": worker.node}
    if with_token:
        told["token"] = session.upstream_token if session.upstream else allocator.tokens.token_of(session.id)
    return told


def tell_operator(session: Session, site: SessionSite, request: Request) -> dict[str, Any]:
    """The same with who has it and how it does, and never its token."""
    status = site.keeper.statuses.get(session.id)
    told = tell(session, site, request) | {
        "owner": session.owner,
        "worker": session.worker,
        "restarts": session.restarts,
    }
    if status is not None:
        told |= {
            "is_connected": status.is_connected,
            "received": status.received,
            "answered": status.answered,
            "dropped": status.dropped,
            "p50_ms": status.p50_ms,
            "p99_ms": status.p99_ms,
            "idle_s": status.idle_s,
        }
    return told


def home_base(site: SessionSite, request: Request) -> str:
    """Address of this receive server's WebSockets, as this client reaches them: `ws://host` or `wss://host`."""
    url = site.public_url or f"{request.url.scheme}://{request.headers.get('host', 'localhost')}"
    return f"ws{url.removeprefix('http')}"


def _utc(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
