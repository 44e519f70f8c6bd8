"""Offers sessions without a worker to upstream receive servers; a request's endpoint and the evacuation call it."""

from __future__ import annotations

from typing import Any

import msgspec

from sessions.allocator import Allocator
from sessions.offload import Upstreams
from sessions.records import ConflictError, Session


async def offer(session: Session, body: dict[str, Any], allocator: Allocator, upstreams: Upstreams) -> Session | None:
    """Have an upstream server take a session, unless it gets a worker here meanwhile.

    Args:
        session: without a worker.
        body: of the request for it.
        allocator: has its record.
        upstreams: they are asked in order.

    Returns:
        The session as it is then, also where no upstream server takes it; None if it has ended.
    """
    taken = await upstreams.offer(body, session.id, session.via.split(",") if session.via else [])
    view = allocator.backend.view
    if taken is None:
        return view.sessions.get(session.id)
    while (current := view.sessions.get(session.id)) is not None and not current.worker:
        pointer = {"upstream_id": taken.id, "upstream_url": taken.url, "upstream_token": taken.token}
        try:
            return await allocator.backend.replace(msgspec.structs.replace(current, upstream=taken.upstream, **pointer))
        except ConflictError:
            continue
    await upstreams.end(taken.upstream, taken.id, taken.token)
    return current


def body_of(session: Session) -> dict[str, Any]:
    """The request for a session that has had a worker here, with the same model and for as long as it was to last."""
    # Not for the rest of its time, which differs between two tries: a repeated request must be equal to the first one.
    ttl_s = (session.expires_at - session.created_at).total_seconds()
    needs = {"gpu": session.gpu, "class": session.node_class}
    named = {"kind": session.kind, "client": session.client, "model": session.model}
    return {**named, "needs": needs, "ttl_s": max(1.0, ttl_s)}
