"""The worker of one session: loads a model, reports that it is ready, and serves a client; `python -m sessions.worker`.

Only receive servers connect to it: they authenticate clients, and send the session's id in `X-Bongsu-Session`. It
serves the first session that comes and no other in its life, and ends when its client has been away for too long.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http
import signal
import socket
import sys
import time
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import msgspec
import structlog
import websockets.asyncio.server as websockets
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from functions import telemetry
from models.registry import ModelError
from sessions import legacy_wire, limits
from sessions.catalogue import UnknownModelError, resolve
from sessions.channel import Channel, Delivery
from sessions.handshake import choose_protocol, query_of, why_refused
from sessions.kinds import Runner, open_runner
from sessions.wire import JSON, MESSAGE_BYTES, BadMessageError, Ping, read, write

log = structlog.get_logger()

IDLE, REPLACED, LEAVING, MOVING = 4408, 4409, 1001, 1012
"""Close codes of connections."""
_SETTLE_S = 20.0
"""Part of the pod's grace period of 30 s."""


class SessionWorker:
    """The worker's side of a session's WebSocket."""

    def __init__(self, runner: Runner, kind: str, model: str, idle_s: float, *, moves: bool = False) -> None:
        self._runner = runner
        self._kind, self._model = kind, model
        self._idle_s = idle_s
        self._moves = moves
        """Whether the end of its session is announced by `/end`, so that any other stop is a move to another worker."""
        self._is_leaving = False
        self._channel = Channel(runner)
        self._session = ""
        self._connection: websockets.ServerConnection | None = None
        self._sending: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._last_message = time.monotonic()
        self.ended = asyncio.Event()

    def admit(self, connection: websockets.ServerConnection, request: HttpRequest) -> Response | None:
        """Answer requests that are not a WebSocket of this session; None accepts the connection."""
        path = urlsplit(request.path).path
        if path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "ok\n")
        if path == "/status":
            return connection.respond(http.HTTPStatus.OK, msgspec.json.encode(self.status()).decode())
        if path == "/move":
            goal = (unquote(request.headers[f"X-Bongsu-{name}"]) for name in ("Url", "Token"))
            return connection.respond(http.HTTPStatus.OK, "moving\n" if self._start_move(*goal) else "absent\n")
        if path == "/end":
            self._moves = False
            return connection.respond(http.HTTPStatus.OK, "ok\n")
        refusal = why_refused(request, self._session, self._channel.resume_token, self._connection is not None)
        if refusal is None:
            self._session = request.headers["X-Bongsu-Session"]
            return None
        status, problem = refusal
        response = connection.respond(status, msgspec.json.encode(problem).decode())
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    async def serve(self, connection: websockets.ServerConnection) -> None:
        """Serve a connection until it ends."""
        request = connection.request
        assert request is not None, "the handshake is done"
        query = query_of(request)
        before, self._connection = self._connection, connection
        if before is not None:
            self._replace(before)
        self._last_message = time.monotonic()
        try:
            if request.headers.get("X-Bongsu-Wire") == "legacy":
                await legacy_wire.serve(connection, self._runner.takes, self._channel, self._note_message)
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

    async def leave(self) -> None:
        """Close the connection because the worker must end; if its session continues elsewhere, after all answers."""
        if self._moving is not None:
            await self._moving
        connection = self._connection
        if connection is None:
            return
        if not self._moves:
            await connection.close(LEAVING, "this session has ended")
            return
        await self._move(connection, {"remedy": "connect to the same url again, and repeat what was not answered"})

    def _start_move(self, url: str, token: str) -> bool:
        """Begin to send the client to another receive server; whether there is a client."""
        if self._connection is None:
            return False
        if self._moving is None:
            remedy = "connect to url with token, and repeat what was not answered"
            self._moving = asyncio.create_task(
                self._move(self._connection, {"url": url, "token": token, "remedy": remedy})
            )
            self._moving.add_done_callback(lambda _: self.ended.set())
        return True

    async def _move(self, connection: websockets.ServerConnection, goal: dict[str, str]) -> None:
        self._is_leaving = True
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(_SETTLE_S):
                await self._channel.settled()
            await connection.send(write({"type": "moving", **goal}, str(connection.subprotocol or JSON)))
        await connection.close(MOVING, "this session moves to another worker")

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
            if self._is_leaving:
                # The client repeats it to the next worker.
                continue
            self._note_message()
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

    def _note_message(self) -> None:
        self._last_message = time.monotonic()


async def _run(given: argparse.Namespace) -> None:
    model = resolve(given.kind, given.model)
    worker = SessionWorker(open_runner(given.kind, model), given.kind, model, given.idle_s, moves=given.moves)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    options: dict[str, Any] = {
        "process_request": worker.admit,
        # By hand: the library would refuse a client that offers none, which means JSON.
        "select_subprotocol": choose_protocol,
        "compression": None,
        "max_size": MESSAGE_BYTES,
        # Reading ahead takes memory: the channel decides how much is in flight.
        "max_queue": 1,
        "close_timeout": 2,
        "server_header": None,
    }
    scheme, _, rest = given.listen.partition(":")
    if scheme == "tcp":
        host, _, port = rest.rpartition(":")
        serving = websockets.serve(worker.serve, host, int(port), **options)
    else:
        serving = websockets.unix_serve(worker.serve, given.listen, **options)
    async with serving:
        if given.notify:
            _say_ready(given.notify, given.name)
        working = asyncio.create_task(worker.work())
        waits = [asyncio.create_task(stopping.wait()), asyncio.create_task(worker.ended.wait()), working]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await worker.leave()
        if working.done():
            working.result()


def _say_ready(path: str, name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(f"READY=1\nNAME={name}".encode(), path)


def main(*arguments: str) -> int:
    """Serve until the client has left, or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sessions.worker")
    parser.add_argument("--name", required=True)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--model", default="", help="name, name:version, or empty for the kind's default")
    parser.add_argument("--listen", required=True, help="path of a Unix socket, or tcp:HOST:PORT")
    parser.add_argument("--notify", default="", help="datagram socket for the readiness message")
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--memory-mb", type=float, default=0.0, help="memory that it may allocate; 0: unlimited")
    parser.add_argument(
        "--moves", action="store_true", help="its session continues elsewhere, unless /end was requested"
    )
    given = parser.parse_args(arguments)
    telemetry.start("session")
    if given.memory_mb:
        limits.apply(given.memory_mb)
    try:
        asyncio.run(_run(given))
    except (ModelError, UnknownModelError, OSError) as error:
        print(f"session worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
