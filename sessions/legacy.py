"""Serves unchanged clients of k8s-rcv-ml: `/app-service`, `/app-disconnect`, and a port for each kind.

Such a client has no key and no token, so this is off unless `BONGSU_SESSIONS_LEGACY_PORTS` sets ports. A connection to
one belongs to a session that was requested from the same address.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from types import SimpleNamespace

import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sessions import catalogue
from sessions.ask import Ask
from sessions.problems import ProblemError
from sessions.records import Session, Worker
from sessions.settings import counts
from sessions.site import SessionSite, site_of
from sessions.tunnel import Handshake, Tunnel
from web.guard import client_of

log = structlog.get_logger()

_TTL_S = 3600.0
_HEAD_BYTES = 16_384


async def app_service(request: Request) -> Response:
    """`{"service_port": "…", "offloading": 0}` once a worker serves; `offloading` is 1 if there is no room."""
    site = site_of(request)
    kind, address = _kind(request, site), _address(request, site)
    client = request.query_params.get("clientID", "")[:128] or "unnamed"
    ask = Ask(
        owner=f"address {address}", kind=kind, model=catalogue.resolve(kind), client=client, ttl_s=_TTL_S,
        idempotency_key=f"legacy {kind} {client}", legacy_address=address,
    )  # fmt: skip
    session = await site.allocator.open(ask)
    is_ready = site.allocator.is_ready(session)
    if not is_ready:
        # Such a client then goes to the data centre, and never returns for its place.
        await site.allocator.end(session.id)
    return _json({"service_port": str(_ports(site)[kind]), "offloading": 0 if is_ready else 1})


async def app_disconnect(request: Request) -> Response:
    """End the newest session of that kind from this address, or the one of `clientID`."""
    site = site_of(request)
    kind, address = _kind(request, site), _address(request, site)
    client = request.query_params.get("clientID", "")
    theirs = [s for s in legacy_sessions(site, kind, address) if not client or s.client == client]
    for session in theirs[-1:]:
        await site.allocator.end(session.id)
    return _json({"type": kind, "ended": len(theirs[-1:])})


ROUTES = [
    Route("/app-service", app_service, methods=["GET", "POST"]),
    Route("/app-disconnect", app_disconnect, methods=["GET", "POST"]),
]


def legacy_sessions(site: SessionSite, kind: str, address: str) -> list[Session]:
    """Sessions of that kind from that address, oldest first."""
    sessions = site.allocator.backend.view.sessions.values()
    return sorted((s for s in sessions if s.kind == kind and s.legacy_address == address), key=lambda s: s.order)


@contextlib.asynccontextmanager
async def listening(site: SessionSite) -> AsyncIterator[None]:
    """Listen on the port of each kind.

    Raises:
        OSError: one is taken.
    """
    async with contextlib.AsyncExitStack() as stack:
        for kind, port in _ports(site).items():
            made = type("LegacyTunnel", (_LegacyTunnel,), {"doorkeeper": _Doorkeeper(site, kind)})
            make = functools.partial(made, None, SimpleNamespace(connections=set()))
            loop = asyncio.get_running_loop()
            try:
                server = await loop.create_server(make, site.settings.sessions_host, port)
            except OSError as error:
                raise OSError(
                    f"BONGSU_SESSIONS_LEGACY_PORTS: port {port}: {error.strerror}: free it or choose another"
                ) from error
            stack.callback(server.close)
        yield


class _LegacyTunnel(Tunnel):
    """Reads the head of the request itself, as there is no HTTP server in front of it."""

    def __init__(self, config: object, server_state: object, app_state: object = None) -> None:
        super().__init__(config, server_state, app_state)
        self._head = b""

    def data_received(self, data: bytes) -> None:
        if self._opening is not None:
            super().data_received(data)
            return
        self._head += data
        if b"\r\n\r\n" in self._head and self._head.startswith(b"GET "):
            super().data_received(self._head)
        elif len(self._head) > _HEAD_BYTES or not b"GET ".startswith(self._head[:4]):
            self._transport.close()

    def head_for_worker(self, handshake: Handshake, session: Session) -> bytes:
        return handshake.for_worker(session.id, wire="legacy")


class _Doorkeeper:
    """Admits clients that requested a session from the same address."""

    def __init__(self, site: SessionSite, kind: str) -> None:
        self._site = site
        self._kind = kind

    async def admit(self, session_id: str, token: str, peer: str) -> tuple[Session, Worker]:
        """The first of the address's sessions without a connection."""
        theirs = legacy_sessions(self._site, self._kind, peer)
        statuses = self._site.keeper.statuses
        free = [s for s in theirs if (status := statuses.get(s.id)) is None or not status.is_connected]
        for session in free or theirs:
            worker = self._site.allocator.backend.view.worker_of(session)
            if worker is not None and worker.state == "ready":
                return session, worker
        raise ProblemError(
            404, "not_found", f"no session of kind {self._kind} was asked for from {peer}",
            f"ask for one with /app-service?type={self._kind}&clientID=NAME&clienttime=TIME",
        )  # fmt: skip


def _kind(request: Request, site: SessionSite) -> str:
    ports = _ports(site)
    if not ports:
        raise ProblemError(
            404, "legacy_off", "clients of k8s-rcv-ml are not served here",
            "set BONGSU_SESSIONS_LEGACY_PORTS, or ask for a session with POST /sessions",
        )  # fmt: skip
    kind = request.query_params.get("type", "")
    if kind not in ports:
        raise ProblemError(
            422, "unknown_model", f"type must be one of {', '.join(ports)}, got {kind[:80]!r}", "send ?type="
        )
    return kind


def _address(request: Request, site: SessionSite) -> str:
    address = client_of(request.scope, Headers(scope=request.scope), site)
    if wait_s := site.requests.take(address):
        raise ProblemError(429, "rate", "too many requests", f"try again in {wait_s:.0f} s")
    return address


def _ports(site: SessionSite) -> dict[str, int]:
    return counts("BONGSU_SESSIONS_LEGACY_PORTS", site.settings.sessions_legacy_ports)


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
