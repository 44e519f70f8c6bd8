"""A worker's side of its session: requests of receive servers, and the client's WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import http
import time
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import msgspec
import structlog
import websockets.asyncio.server as websockets
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from sessions import legacy_wire
from sessions.channel import Channel, Delivery, Kept
from sessions.departure import Departure
from sessions.handshake import query_of, why_refused
from sessions.kinds import Runner
from sessions.pace import Pace
from sessions.wire import JSON, BadMessageError, Ping, read, write

log = structlog.get_logger()

IDLE, REPLACED = 4408, 4409
"""Close codes of connections; departure.py has those of a worker that ends."""


class SessionWorker:
    """The worker's side of a session's WebSocket."""

    def __init__(
        self, runner: Runner, kind: str, model: str, idle_s: float, *, moves: bool = False, most_cores: float = 0.0
    ) -> None:
        self._runner = runner
        self._kind, self._model = kind, model
        self._idle_s = idle_s
        self._pace = Pace(most_cores)
        self._channel = Channel(runner)
        self._session, self._has_begun = "", False
        self._connection: websockets.ServerConnection | None = None
        self._sending: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._last_message = time.monotonic()
        self._departure = Departure(self._channel, lambda: self._connection, moves=moves)
        self.ended = self._departure.ended
        """Set once its client is gone for good."""

    async def admit(self, connection: websockets.ServerConnection, request: HttpRequest) -> Response | None:
        """Answer requests that are not a WebSocket of this session; None accepts the connection."""
        path = urlsplit(request.path).path
        if (answer := await self._answer(path, request)) is not None:
            return connection.respond(http.HTTPStatus.OK, answer)
        refusal = why_refused(
            request, self._session, self._channel.resume_token,
            has_begun=self._has_begun, is_connected=self._connection is not None,
        )  # fmt: skip
        if refusal is None:
            self._session = request.headers["X-Bongsu-Session"]
            # A worker of the warm pool has waited for long; its client, for whom it gets results first, has not.
            self._note_message()
            return None
        status, problem = refusal
        response = connection.respond(status, msgspec.json.encode(problem).decode())
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    async def _answer(self, path: str, request: HttpRequest) -> str | None:
        """The answer to a request of a receive server; None for any other path."""
        if path == "/healthz":
            return "ok\n"
        if path == "/status":
            return msgspec.json.encode(self.status()).decode()
        if path == "/hand-over":
            return await self._departure.hand_over(stays="X-Bongsu-Stays" in request.headers)
        if path == "/move":
            url, token = (unquote(request.headers.get(f"X-Bongsu-{name}", "")) for name in ("Url", "Token"))
            is_handed_over = "X-Bongsu-Handed-Over" in request.headers
            return "moving\n" if self._departure.move(url, token, is_handed_over=is_handed_over) else "absent\n"
        if path == "/end":
            self._departure.end()
            return "ok\n"
        return None

    async def serve(self, connection: websockets.ServerConnection) -> None:
        """Serve a connection until it ends."""
        request = connection.request
        assert request is not None, "the handshake is done"
        if urlsplit(request.path).path == "/adopt":
            await self._adopt(connection)
            return
        query, self._has_begun = query_of(request), True
        before, self._connection = self._connection, connection
        if before is not None:
            self._replace(before)
        self._last_message = time.monotonic()
        try:
            if request.headers.get("X-Bongsu-Wire") == "legacy":
                await legacy_wire.serve(connection, self._runner.takes, self._channel, self._keep_pace)
            else:
                await self._converse(connection, query)
        except ConnectionClosed:
            pass
        finally:
            if self._connection is connection:
                self._connection = None
            self._last_message = time.monotonic()

    def status(self) -> dict[str, Any]:
        """The status, for receive servers and operators."""
        stats = self._channel.stats
        return {
            "session": self._session,
            "is_connected": self._connection is not None,
            "received": stats.received,
            "answered": stats.answered,
            "dropped": stats.dropped,
            "p50_ms": stats.percentile_ms(0.5),
            "p99_ms": stats.percentile_ms(0.99),
            "idle_s": round(time.monotonic() - self._last_message, 1),
        }

    async def work(self) -> None:
        """Answer requests; ends when the client has been away, or silent, for too long."""
        working = asyncio.create_task(self._channel.work())
        try:
            while not self._session or (left_s := self._last_message + self._idle_s - time.monotonic()) > 0:
                await asyncio.sleep(min(1.0, left_s if self._session else 1.0))
                if working.done():
                    working.result()
            if self._connection is not None:
                await self._connection.close(IDLE, f"no message for {self._idle_s:g} s")
            self.ended.set()
        finally:
            working.cancel()

    def end_session(self) -> None:
        """Note that its session has ended, so that it does not go on elsewhere."""
        self._departure.end()

    async def leave(self) -> None:
        """Close the connection because the worker must end; if its session goes on elsewhere, once it does."""
        await self._departure.leave(self._session)

    async def _adopt(self, connection: websockets.ServerConnection) -> None:
        """Take over the results of the worker that served this session before."""
        self._channel.adopt(msgspec.json.decode(await connection.recv(), type=Kept))
        await connection.send("ok")

    async def _converse(self, connection: websockets.ServerConnection, query: dict[str, str]) -> None:
        delivery = cast(Delivery, query.get("delivery", "all"))
        in_flight = int(query.get("in_flight", "8"))
        is_resumed = bool(query.get("resume"))
        if is_resumed:
            after = query.get("after", "0")
            self._channel.resume(int(after) if after.isdecimal() else 0)
        else:
            self._channel.restart()
        protocol = str(connection.subprotocol or JSON)
        hello = {
            "type": "hello",
            "session": self._session,
            "kind": self._kind,
            "model": self._model,
            "resume": self._channel.resume_token,
            "resumed": is_resumed,
            "delivery": delivery,
            "in_flight": in_flight,
            "idle_s": self._idle_s,
        }
        await connection.send(write(hello, protocol))
        self._sending = sending = asyncio.create_task(self._send(connection, protocol))
        try:
            await self._receive(connection, protocol, delivery, in_flight)
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    def _replace(self, before: websockets.ServerConnection) -> None:
        """Take a session over from another connection, which may be dead: its answer is not awaited."""
        if self._sending is not None:
            # At once, or it would take results of the new connection.
            self._sending.cancel()
        self._closing = asyncio.create_task(before.close(REPLACED, "this session was resumed from another connection"))

    async def _receive(
        self, connection: websockets.ServerConnection, protocol: str, delivery: Delivery, in_flight: int
    ) -> None:
        n = 0
        async for message in connection:
            await self._keep_pace()
            if not await self._departure.accepts():
                continue
            try:
                given = read(message, protocol, self._runner.takes, n + 1)
            except BadMessageError as error:
                if error.n < 1:
                    refusal = {"type": "error", "n": 0, "reason": str(error), "remedy": error.remedy}
                    await connection.send(write(refusal, protocol))
                    continue
                await self._channel.put(error, delivery, in_flight)
                continue
            if isinstance(given, Ping):
                await connection.send(write({"type": "pong", "n": given.n}, protocol))
                continue
            n = given.n
            await self._channel.put(given, delivery, in_flight)

    async def _send(self, connection: websockets.ServerConnection, protocol: str) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send(write(await self._channel.take(), protocol))

    async def _keep_pace(self) -> None:
        self._note_message()
        await self._pace.keep()

    def _note_message(self) -> None:
        self._last_message = time.monotonic()
