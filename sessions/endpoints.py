"""The endpoints of sessions: request, show, extend, end, and the operator's list."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec
from msgspec import Struct
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sessions import catalogue
from sessions.answers import describe_for_operator, describe_session, home_base
from sessions.ask import Ask
from sessions.offering import offer
from sessions.offload import VIA, read_via
from sessions.problems import ProblemError, not_found
from sessions.records import ConflictError, Session
from sessions.site import SessionSite, caller_of, site_of
from web.answers import read_body
from web.guard import client_of
from web.keys import Caller

_LONG_POLL_S = 30.0
_EXAMPLE = '{"kind": "object", "client": "car-17", "ttl_s": 600}'


class Needs(Struct, frozen=True, forbid_unknown_fields=True, rename={"node_class": "class"}):
    """Hardware that a session needs."""

    gpu: bool = False
    node_class: str = ""


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /sessions`."""

    kind: str
    client: str
    model: str = ""
    needs: Needs = Needs()
    ttl_s: float = 600.0
    migrate: bool = False


class Extension(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PATCH /sessions/{id}`."""

    ttl_s: float


async def ask(request: Request) -> Response:
    """Request a session: 201 with its address and token, or 202 with a place in line."""
    site, caller = site_of(request), caller_of(request)
    site.require_key(caller)
    asked = await read_body(request, Asked, _EXAMPLE)
    ask = _check(asked, owner_of(request, site, caller), request.headers.get("idempotency-key", ""))
    via = _via(request)
    ask = dataclasses.replace(ask, via=",".join(via), home_base=home_base(site, request) if asked.migrate else "")
    if site.settings.name in via:
        raise ProblemError(
            508, "loop", f"this request came through {site.settings.name} already", "correct BONGSU_SESSIONS_UPSTREAM"
        )
    await _require_hardware(ask, site)
    session = await site.allocator.open(ask)
    if not session.upstream and not session.worker and site.upstreams.may_pass(via):
        session = await _offload(session, asked, site)
    described = describe_session(session, site, request, with_token=True)
    headers = {"Location": f"/sessions/{session.id}"}
    if described["state"] == "ready":
        return _json(described, 201, headers)
    return _json(
        described, 202, {**headers, "Retry-After": str(math.ceil(min(30.0, described.get("estimate_s", 1.0))) or 1)}
    )


async def list_all(request: Request) -> Response:
    """All sessions with their statistics, for operators."""
    site, caller = site_of(request), caller_of(request)
    require_operator(site, caller)
    view = site.allocator.backend.view
    sessions = sorted(view.sessions.values(), key=lambda s: s.order)
    workers = [w for w in view.workers.values() if not w.session]
    return _json(
        {
            "sessions": [describe_for_operator(session, site, request) for session in sessions],
            "idle": [{"name": w.name, "kind": w.kind, "model": w.model, "state": w.state} for w in workers],
            "capacity": msgspec.to_builtins(await site.allocator.backend.capacity()),
            "upstreams": site.upstreams.healthy,
        }
    )


async def look(request: Request) -> Response:
    """One session; with `wait_s` the answer comes once it is ready, or after that time. It keeps a place in line."""
    site, wait_s, session = site_of(request), _wait_s(request), find_session(request)
    if not site.allocator.is_ready(session):
        session = await _or_gone(session, site.allocator.keep_place(session))
        session = await site.allocator.ready(session.id, wait_s)
    # A client that missed `moving` finds the upstream server's address and token here; others never see a token.
    is_holder = site.is_token(session.id, request.headers.get("session-token", ""))
    return _json(describe_session(session, site, request, with_token=is_holder))


async def extend(request: Request) -> Response:
    """Extend a session to this long from now."""
    site, session = site_of(request), find_session(request)
    extension = await read_body(request, Extension, '{"ttl_s": 600}')
    _check_ttl(extension.ttl_s)
    if session.upstream:
        await site.upstreams.extend(session.upstream, session.upstream_id, session.upstream_token, extension.ttl_s)
    return _json(
        describe_session(await _or_gone(session, site.allocator.extend(session, extension.ttl_s)), site, request)
    )


async def end(request: Request) -> Response:
    """End a session, its worker and its connection."""
    site, session = site_of(request), find_session(request)
    if session.upstream:
        await site.upstreams.end(session.upstream, session.upstream_id, session.upstream_token)
    await site.allocator.end(session.id)
    return Response(status_code=204)


async def healthz(request: Request) -> Response:
    """200 if sessions can be requested."""
    site = site_of(request)
    await site.allocator.backend.capacity()
    return _json({"status": "ok", "name": site.settings.name})


ROUTES = [
    Route("/sessions", ask, methods=["POST"]),
    Route("/sessions", list_all),
    Route("/sessions/{session_id}", look),
    Route("/sessions/{session_id}", extend, methods=["PATCH"]),
    Route("/sessions/{session_id}", end, methods=["DELETE"]),
    Route("/healthz", healthz),
]


def owner_of(request: Request, site: SessionSite, caller: Caller) -> str:
    """The owner to whose quota a session counts."""
    if caller.name is not None:
        return f"key {caller.name}"
    return f"address {client_of(request.scope, Headers(scope=request.scope), site)}"


def _check(asked: Asked, owner: str, key: str) -> Ask:
    try:
        model = catalogue.resolve(asked.kind, asked.model)
    except catalogue.UnknownModelError as error:
        raise ProblemError(422, "unknown_model", str(error), "choose one of those") from None
    if not 1 <= len(asked.client) <= 128 or not asked.client.isprintable():
        raise ProblemError(
            422, "invalid", f"client must be 1 to 128 printable characters, got {asked.client[:140]!r}",
            "send a name of your own choice, such as car-17",
        )  # fmt: skip
    if len(key) > 256:
        raise ProblemError(
            422, "invalid", f"Idempotency-Key has {len(key)} characters", "send at most 256, such as a UUID"
        )
    _check_ttl(asked.ttl_s)
    needs = asked.needs
    return Ask(owner, asked.kind, model, asked.client, asked.ttl_s, needs.gpu, needs.node_class, key)


def _check_ttl(ttl_s: float) -> None:
    if not 1 <= ttl_s <= 1e6:
        raise ProblemError(422, "invalid", f"ttl_s must be seconds from 1, got {ttl_s}", "send a number such as 600")


async def _require_hardware(ask: Ask, site: SessionSite) -> None:
    if not ask.gpu and not ask.node_class:
        return
    capacity = await site.allocator.backend.capacity()
    lacks_gpu = ask.gpu and not capacity.has_gpu
    lacks_class = ask.node_class and ask.node_class not in capacity.classes
    if (lacks_gpu or lacks_class) and not site.upstreams.healthy:
        what = "GPU" if lacks_gpu else f"node of class {ask.node_class[:80]!r}"
        raise ProblemError(
            422, "no_such_hardware", f"there is no {what} here (classes: {', '.join(capacity.classes) or 'none'})",
            "ask without it, or ask another receive server",
        )  # fmt: skip


async def _offload(session: Session, asked: Asked, site: SessionSite) -> Session:
    """Offer it to upstream servers, unless it gets a worker meanwhile."""
    # It comes home to this server alone, also where the upstream server passes it on.
    body = msgspec.to_builtins(asked)
    body.pop("migrate")
    current = await offer(session, body, site.allocator, site.upstreams)
    if current is None:
        raise not_found(session.id)
    return current


def require_operator(site: SessionSite, caller: Caller) -> None:
    """Refuse all but operators; where sessions need no key, everybody is one.

    Raises:
        RefusedError: 401.
        ProblemError: 403.
    """
    site.require_key(caller)
    if caller.role != "operator" and caller.name is not None:
        raise ProblemError(403, "operator_only", "this is for operators", "use a key of role operator")


def find_session(request: Request) -> Session:
    """Find a session that the caller may see: its owner by key, the holder of its token, or an operator.

    Raises:
        ProblemError: 404: there is none.
    """
    site, caller = site_of(request), caller_of(request)
    session_id = request.path_params["session_id"]
    session = site.allocator.backend.view.sessions.get(session_id)
    is_token = site.is_token(session_id, request.headers.get("session-token", ""))
    is_owner = session is not None and caller.name is not None and session.owner == f"key {caller.name}"
    if session is None or not (is_token or is_owner or caller.role == "operator"):
        # The same answer as for a missing session, so that ids cannot be probed.
        raise not_found(session_id)
    return session


async def _or_gone(session: Session, change: Any) -> Session:
    try:
        changed: Session = await change
    except ConflictError:
        raise not_found(session.id) from None
    return changed


def _wait_s(request: Request) -> float:
    given = request.query_params.get("wait_s", "0")
    try:
        wait_s = float(given)
    except ValueError:
        wait_s = math.nan
    if math.isnan(wait_s):
        raise ProblemError(422, "invalid", f"wait_s must be seconds, got {given[:80]!r}", "send ?wait_s=20")
    return min(max(wait_s, 0.0), _LONG_POLL_S)


def _via(request: Request) -> list[str]:
    try:
        return read_via(request.headers.get(VIA, ""))
    except ValueError as error:
        raise ProblemError(400, "via", str(error), f"leave the header {VIA} out") from None


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
