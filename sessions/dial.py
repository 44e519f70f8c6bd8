"""Connections from receive servers to a worker, and its status over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import structlog
from msgspec import Struct

log = structlog.get_logger()

_STATUS_S = 3.0
_END_S = 1.0
_HAND_OVER_S = 12.0
_LONGEST = 8_000_000
_URL = ":/?&=@[]%~"
"""Characters of an address that stay; a line break does not."""

P = TypeVar("P", bound=asyncio.Protocol)


class Status(Struct, frozen=True):
    """A worker's report about its session; see `SessionWorker.status`."""

    session: str
    is_connected: bool
    received: int
    answered: int
    dropped: int
    p50_ms: float | None
    p99_ms: float | None
    idle_s: float


async def connect(address: str, make: Callable[[], P]) -> P:
    """Connect to `unix:/path` or `tcp:host:port`.

    Raises:
        OSError: nothing listens there.
    """
    loop = asyncio.get_running_loop()
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        _, protocol = await loop.create_unix_connection(make, rest)
        return protocol
    host, _, port = rest.rpartition(":")
    _, protocol = await loop.create_connection(make, host, int(port))
    return protocol


async def is_serving(address: str) -> bool:
    """Whether a worker has loaded its model and answers."""
    try:
        return await _get(address, "/healthz", _END_S) == b"ok\n"
    except OSError:
        return False


async def read_status(address: str) -> Status:
    """Get a worker's status.

    Raises:
        OSError: it does not answer (a TimeoutError is one).
    """
    try:
        return msgspec.json.decode(await _get(address, "/status", _STATUS_S), type=Status)
    except msgspec.DecodeError as error:
        raise OSError(f"not a status: {error}") from None


async def announce_end(address: str) -> None:
    """Notify a worker that its session has ended, before it is stopped, even if it does not answer."""
    with contextlib.suppress(OSError):
        await _get(address, "/end", _END_S)


async def announce_move(address: str, url: str, token: str, *, is_handed_over: bool = False) -> bool:
    """Have a worker send its client to another address; returns whether it has a client.

    Args:
        address: the worker's.
        url: where the client goes on; empty: at the address that it used.
        token: for that address.
        is_handed_over: whether the results are there already.

    Raises:
        OSError: it does not answer.
    """
    headers = f"X-Bongsu-Url: {quote(url, safe=_URL)}\r\nX-Bongsu-Token: {quote(token)}\r\n"
    if is_handed_over:
        headers += "X-Bongsu-Handed-Over: 1\r\n"
    return await _get(address, "/move", _STATUS_S, headers) == b"moving\n"


async def hand_over(old: str, new: str, session_id: str) -> bool:
    """Give the results of a worker that is stopped to the next worker of its session; whether that worker has them."""
    try:
        await give_results(new, session_id, await take_results(old))
    except OSError as error:
        log.warning("results_not_handed_over", session=session_id, reason=str(error) or type(error).__name__)
        return False
    return True


async def take_results(address: str, *, stays: bool = False) -> bytes:
    """Have a worker accept no more messages and answer those that it has; returns its results as JSON.

    Args:
        address: the worker's.
        stays: whether it accepts messages again if its client is not moved within 20 s.

    Raises:
        OSError: it does not answer.
    """
    return await _get(address, "/hand-over", _HAND_OVER_S, "X-Bongsu-Stays: 1\r\n" if stays else "")


async def give_results(address: str, session_id: str, kept: bytes) -> None:
    """Give results to a worker whose session has not begun there.

    Raises:
        OSError: it does not take them.
    """
    from websockets.exceptions import WebSocketException

    try:
        async with _dial(address, "/adopt", session_id) as connection:
            await connection.send(kept.decode())
            if await connection.recv() != "ok":
                raise OSError("the worker does not take the results")
    except (WebSocketException, UnicodeDecodeError) as error:
        raise OSError(f"the worker does not take the results: {error}") from None


def _dial(address: str, path: str, session_id: str) -> Any:
    """A WebSocket to a worker, as a context."""
    # Imported here, because only the end of a worker needs it.
    from websockets.asyncio.client import connect, unix_connect

    options: dict[str, Any] = {
        "additional_headers": {"X-Bongsu-Session": session_id}, "compression": None, "proxy": None,
        "open_timeout": _STATUS_S, "close_timeout": _END_S,
    }  # fmt: skip
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        return unix_connect(rest, f"ws://worker{path}", **options)
    return connect(f"ws://{rest}{path}", **options)


async def _get(address: str, path: str, timeout_s: float, headers: str = "") -> bytes:
    async with asyncio.timeout(timeout_s):
        scheme, _, rest = address.partition(":")
        if scheme == "unix":
            reader, writer = await asyncio.open_unix_connection(rest)
        else:
            host, _, port = rest.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n{headers}\r\n".encode())
            answer = bytearray()
            while (more := await reader.read(_LONGEST)) and len(answer) < _LONGEST:
                answer += more
        finally:
            writer.close()
    return bytes(answer.partition(b"\r\n\r\n")[2])
