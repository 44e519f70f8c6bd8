"""The endpoints by which receive servers move a session between them, results included, and drain their machine."""

from __future__ import annotations

import contextlib

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sessions.dial import announce_move, give_results, read_status, take_results
from sessions.endpoints import find_session, require_operator
from sessions.problems import ProblemError
from sessions.records import Session, Worker
from sessions.site import SessionSite, caller_of, site_of
from sessions.wire import MESSAGE_BYTES
from web.answers import read_body

_MOVE_MAX = 2048
"""Characters of an address, and of a token."""


class Move(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /sessions/{id}/move`: where the client goes on, its token, and whether results are there."""

    url: str
    token: str
    has_results: bool = False


class Drain(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /drain`."""

    is_drained: bool = True


async def move(request: Request) -> Response:
    """Have the client of a session go on at another address, after all that it has sent is answered.

    The receive server that passed the session on calls this once it has room for it.
    """
    site, session = site_of(request), find_session(request)
    wanted = await read_body(request, Move, '{"url": "wss://edge.example/s/ID", "token": "…"}')
    if not wanted.url.startswith(("ws://", "wss://")) or max(len(wanted.url), len(wanted.token)) > _MOVE_MAX:
        raise ProblemError(
            422, "invalid", f"url must start with ws:// or wss://, got {wanted.url[:80]!r}", "send the session's url"
        )
    if session.upstream:
        await site.upstreams.move(session, wanted.url, wanted.token, has_results=wanted.has_results)
        return Response(status_code=204)
    worker, has_client = site.allocator.backend.view.worker_of(session), False
    with contextlib.suppress(OSError):
        has_client = worker is not None and await announce_move(
            worker.address, wanted.url, wanted.token, is_handed_over=wanted.has_results
        )
    if not has_client:
        raise _not_connected()
    return Response(status_code=204)


async def hand_over(request: Request) -> Response:
    """The results of a session whose client is about to be moved; its worker accepts nothing more for some seconds."""
    site, session = site_of(request), find_session(request)
    if session.upstream:
        kept = await site.upstreams.take_results(session)
        if kept is None:
            raise _not_connected()
        return Response(kept, media_type="application/json")
    worker = _worker_of(site, session)
    try:
        if not (await read_status(worker.address)).is_connected:
            raise _not_connected()
        return Response(await take_results(worker.address, stays=True), media_type="application/json")
    except OSError:
        raise _worker_lost() from None


async def put_results(request: Request) -> Response:
    """Give the worker of a session that has not begun the results of the one that served it before."""
    site, session = site_of(request), find_session(request)
    kept = await _read(request)
    if session.upstream:
        if not await site.upstreams.give_results(session, kept):
            raise _worker_lost()
        return Response(status_code=204)
    worker = _worker_of(site, session)
    try:
        await give_results(worker.address, session.id, kept)
    except OSError:
        raise ProblemError(
            409, "not_taken", "the worker does not take results: its session has begun", "connect without them"
        ) from None
    return Response(status_code=204)


async def drain(request: Request) -> Response:
    """Have the sessions of this machine go on elsewhere, or undo that; for operators."""
    site = site_of(request)
    require_operator(site, caller_of(request))
    wanted = await read_body(request, Drain, '{"is_drained": true}')
    if site.settings.sessions_cluster == "kubernetes":
        raise ProblemError(409, "cluster", "nodes of a cluster are drained by their cluster", "kubectl drain NODE")
    await site.allocator.backend.drain(wanted.is_drained)
    capacity = await site.allocator.backend.capacity()
    return Response(msgspec.json.encode({"node": capacity.node, "is_drained": capacity.is_drained}))


ROUTES = [
    Route("/sessions/{session_id}/move", move, methods=["POST"]),
    Route("/sessions/{session_id}/hand-over", hand_over, methods=["POST"]),
    Route("/sessions/{session_id}/results", put_results, methods=["PUT"]),
    Route("/drain", drain, methods=["POST"]),
]


def _worker_of(site: SessionSite, session: Session) -> Worker:
    worker = site.allocator.backend.view.worker_of(session)
    if worker is None or worker.state not in ("ready", "leaving"):
        raise ProblemError(409, "waiting", f"session {session.id} has no worker now", "try again in a few seconds")
    return worker


async def _read(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MESSAGE_BYTES:
            raise HTTPException(413, f"results must have at most {MESSAGE_BYTES} bytes: send the newest")
    return body


def _not_connected() -> ProblemError:
    return ProblemError(409, "not_connected", "no client is connected to this session", "try again later")


def _worker_lost() -> ProblemError:
    return ProblemError(503, "worker_lost", "the worker of this session does not answer", "try again in a second")
