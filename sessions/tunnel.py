"""A client's WebSocket through the receive server to its worker: let in by its token, then bytes both ways, unread.

uvicorn hands each upgrade to the protocol class that `tunnel_class` makes. Nothing is decoded here, so a frame costs
two copies, and a connection that rests costs two sockets.
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
"""A browser can send no header with a WebSocket, but subprotocols: one that begins so holds the token."""
_DROPPED = ("authorization", "cookie", "sec-websocket-protocol", "x-bongsu-session", "x-bongsu-wire")


class Doorkeeper(Protocol):
    """Decides who may connect to a session."""

    async def admit(self, session_id: str, token: str, peer: str) -> tuple[Session, Worker]:
        """The session and its worker, which is ready.

        Raises:
            ProblemError: the client may not come in, or not now.
        """


@dataclass(frozen=True, slots=True)
class Handshake:
    """A client's request to open a WebSocket."""

    target: str
    headers: list[tuple[str, str]]

    @classmethod
    def parse(cls, head: bytes) -> Handshake:
        """Read the head of a request; of one that an HTTP parser would refuse, the target is empty."""
        first, *lines = head.decode("latin-1").split("\r\n")
        _, target, *_ = [*first.split(" "), "", ""]
        pairs = (line.partition(":") for line in lines if line)
        return cls(target, [(name.strip().lower(), value.strip()) for name, _, value in pairs])

    @property
    def session_id(self) -> str:
        """The session that it asks for; empty if it asks for something else."""
        path = urlsplit(self.target).path
        return path.removeprefix(PATH) if path.startswith(PATH) else ""

    @property
    def offered(self) -> list[str]:
        """The subprotocols that it offers."""
        values = [value for name, value in self.headers if name == "sec-websocket-protocol"]
        return [part.strip() for value in values for part in value.split(",")]

    @property
    def token(self) -> str:
        """From the Authorization header, a subprotocol or, for tools that can send neither, the query."""
        for name, value in self.headers:
            if name == "authorization" and value.lower().startswith("bearer "):
                return value[7:].strip()
        for offer in self.offered:
            if offer.startswith(TOKEN_PROTOCOL):
                return offer.removeprefix(TOKEN_PROTOCOL)
        return parse_qs(urlsplit(self.target).query).get("token", [""])[0]

    def for_worker(self, session_id: str, wire: str = "") -> bytes:
        """The same for the worker: whose session it is instead of the token."""
        kept = [(name, value) for name, value in self.headers if name not in _DROPPED]
        # One that is offered must be one that the worker may choose, so what it does not know is left out.
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
        """The worker reads too slowly: the client is read no further."""
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
            # Until the worker has answered a client says nothing; one that does is read later.
            self._transport.pause_reading()
            self._opening = asyncio.create_task(self._open(Handshake.parse(data)))

    def pause_writing(self) -> None:
        """The client reads too slowly: the worker is read no further, and feels it."""
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
        """uvicorn leaves: the session goes on in its worker, and the client comes back with its resume token."""
        self._transport.close()

    def head_for_worker(self, handshake: Handshake, session: Session) -> bytes:
        """What the worker gets in place of the client's request."""
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
    """A protocol class for uvicorn's `ws`, with its doorkeeper."""
    return type("Tunnel", (Tunnel,), {"doorkeeper": doorkeeper})
