"""Forwards a client's WebSocket through the receive server to its worker: checks the token, then copies bytes.

uvicorn passes each upgrade to the protocol class from `tunnel_class`. Nothing is decoded here, so a frame costs two
copies, and an idle connection two sockets.
"""

from __future__ import annotations

import asyncio
import http
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, urlsplit

import msgspec
import structlog

from sessions.dial import connect
from sessions.metrics import connections_now
from sessions.problems import Problem, ProblemError
from sessions.records import Session, Worker
from sessions.wire import PROTOCOLS

log = structlog.get_logger()

PATH = "/s/"
TOKEN_PROTOCOL = "bongsu.token."
"""A browser cannot send headers with a WebSocket, only subprotocols: one with this prefix has the token."""
_DROPPED = ("authorization", "cookie", "sec-websocket-protocol", "x-bongsu-session", "x-bongsu-wire")


class Doorkeeper(Protocol):
    """Decides who may connect to a session."""

    async def admit(self, session_id: str, token: str, peer: str) -> tuple[Session, Worker]:
        """The session and its worker, which is ready.

        Raises:
            ProblemError: the client may not connect, or not now.
        """


@dataclass(frozen=True, slots=True)
class Handshake:
    """A client's request to open a WebSocket."""

    target: str
    headers: list[tuple[str, str]]

    @classmethod
    def parse(cls, head: bytes) -> Handshake:
        """Parse the head of a request; the target is empty if an HTTP parser would refuse it."""
        first, *lines = head.decode("latin-1").split("\r\n")
        _, target, *_ = [*first.split(" "), "", ""]
        pairs = (line.partition(":") for line in lines if line)
        return cls(target, [(name.strip().lower(), value.strip()) for name, _, value in pairs])

    @property
    def session_id(self) -> str:
        """The id of the session in the path; empty for any other path."""
        path = urlsplit(self.target).path
        return path.removeprefix(PATH) if path.startswith(PATH) else ""

    @property
    def offered(self) -> list[str]:
        """The offered subprotocols."""
        values = [value for name, value in self.headers if name == "sec-websocket-protocol"]
        return [part.strip() for value in values for part in value.split(",")]

    @property
    def token(self) -> str:
        """The token, from the Authorization header, a subprotocol or, for tools that can send neither, the query."""
        for name, value in self.headers:
            if name == "authorization" and value.lower().startswith("bearer "):
                return value[7:].strip()
        for offer in self.offered:
            if offer.startswith(TOKEN_PROTOCOL):
                return offer.removeprefix(TOKEN_PROTOCOL)
        return parse_qs(urlsplit(self.target).query).get("token", [""])[0]

    def for_worker(self, session_id: str, wire: str = "") -> bytes:
        """The same request for the worker, with the session's id instead of the token."""
        kept = [(name, value) for name, value in self.headers if name not in _DROPPED]
        # The worker may choose any offered subprotocol, so those that it does not support are left out.
        if offered := [offer for offer in self.offered if offer in PROTOCOLS]:
            kept.append(("sec-websocket-protocol", ", ".join(offered)))
        kept.append(("x-bongsu-session", session_id))
        if wire:
            kept.append(("x-bongsu-wire", wire))
        lines = [f"GET {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in kept), "", ""]
        return "\r\n".join(lines).encode("latin-1")


class _WorkerSide(asyncio.Protocol):
    """The connection to the worker."""

    def __init__(self, client: asyncio.Transport) -> None:
        self.client = client
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.client.write(data)

    def pause_writing(self) -> None:
        """The worker reads too slowly: stop reading from the client."""
        self.client.pause_reading()

    def resume_writing(self) -> None:
        if not self.client.is_closing():
            self.client.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self.client.close()


class Tunnel(asyncio.Protocol):
    """The connection to the client."""

    doorkeeper: Doorkeeper

    def __init__(self, config: Any, server_state: Any, app_state: Any = None) -> None:
        self._connections = server_state.connections
        self._transport: asyncio.Transport
        self._worker: _WorkerSide | None = None
        self._opening: asyncio.Task[None] | None = None
        self._is_counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._worker is not None and self._worker.transport is not None:
            self._worker.transport.write(data)
        elif self._opening is None:
            # A client must not send before the worker has answered; if it does, that is read later.
            self._transport.pause_reading()
            self._opening = asyncio.create_task(self._open(Handshake.parse(data)))

    def pause_writing(self) -> None:
        """The client reads too slowly: stop reading from the worker, so that it slows down."""
        if self._worker is not None and self._worker.transport is not None:
            self._worker.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._worker is not None and self._worker.transport is not None:
            self._worker.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self._connections.discard(self)
        if self._opening is not None:
            self._opening.cancel()
        if self._worker is not None and self._worker.transport is not None:
            self._worker.transport.close()
        if self._is_counted:
            connections_now.dec()

    def shutdown(self) -> None:
        """uvicorn shuts down: the session continues in its worker, and the client reconnects with its resume token."""
        self._transport.close()

    def head_for_worker(self, handshake: Handshake, session: Session) -> bytes:
        """The request that the worker gets instead of the client's."""
        return handshake.for_worker(session.id)

    async def _open(self, handshake: Handshake) -> None:
        peer = self._transport.get_extra_info("peername")
        try:
            session, worker = await self.doorkeeper.admit(
                handshake.session_id, handshake.token, peer[0] if isinstance(peer, tuple) else ""
            )
            self._worker = await connect(worker.address, lambda: _WorkerSide(self._transport))
        except ProblemError as error:
            self._refuse(error.status, error.problem)
            return
        except OSError as error:
            log.warning("worker_not_reached", reason=str(error))
            problem = Problem("worker_lost", "the worker of this session does not answer", "connect again in a second")
            self._refuse(503, problem)
            return
        assert self._worker.transport is not None, "connected"
        self._worker.transport.write(self.head_for_worker(handshake, session))
        connections_now.inc()
        self._is_counted = True
        self._transport.resume_reading()

    def _refuse(self, status: int, problem: Problem) -> None:
        body = msgspec.json.encode(problem)
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
        self._transport.close()


def tunnel_class(doorkeeper: Doorkeeper) -> type[asyncio.Protocol]:
    """A protocol class for uvicorn's `ws` that uses a doorkeeper."""
    return type("Tunnel", (Tunnel,), {"doorkeeper": doorkeeper})
