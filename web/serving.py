"""Opens the port of an HTTP service, and serves until a signal stops it."""

from __future__ import annotations

import signal
import socket

import uvicorn

from web.addresses import show_host


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
