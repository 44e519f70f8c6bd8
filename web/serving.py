"""Opens the port of an HTTP service, bounds what a client may take of it, and serves until a signal stops it."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from web.addresses import show_host


class BoundedHeaders(HttpToolsProtocol):
    """HTTP/1.1 for `uvicorn.Config(http=…)`: a request's headers must be sent in some seconds and have some bytes.

    uvicorn sets no limit to either with this parser: connections that send nothing would use up the open files, and one
    that sends headers without end the memory.
    """

    headers_s: ClassVar[float] = 20.0
    headers_max: ClassVar[int] = 65_536

    _deadline: asyncio.TimerHandle | None = None
    """Set while headers are awaited."""
    _received = 0
    """Bytes of them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is None:
            return
        self._received += len(data)
        if self._received > self.headers_max and not self.transport.is_closing():
            self._stop_waiting()
            self.send_400_response(f"The headers of a request must have at most {self.headers_max} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def _await_headers(self) -> None:
        self._stop_waiting()
        self._received = 0
        self._deadline = self.loop.call_later(self.headers_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_headers()  # an answer to the request before it is still on its way
        else:
            self.transport.close()


def listen(host: str, port: int, variables: str, *, backlog: int = 1024, stalled_ms: int = 0) -> socket.socket:
    """Open a listening socket.

    Args:
        host: name or address of this machine.
        port: 0 for any that is free.
        variables: start of the names of both settings, such as `BONGSU_HTTP`; errors name them.
        backlog: connections that may wait to be accepted.
        stalled_ms: disconnect a client that reads nothing for this long, if the system supports it; 0: never.

    Raises:
        OSError: the address is taken or not this machine's; the message has the fix.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise OSError(f"{variables}_HOST: cannot use {host!r}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if stalled_ms and hasattr(socket, "TCP_USER_TIMEOUT"):
            # Accepted connections inherit this option.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled_ms)
        listener.bind(address)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise OSError(f"port {port} on {host}: {reason}: free it or set {variables}_PORT to another") from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The address of a listening socket, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://{show_host(host)}:{port}/"


async def serve_until_stopped(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises a signal again once it has stopped; a requested stop is not a failure, so it ends here.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: setattr(server, "should_exit", True))
    await server.serve(sockets=[listener])
