"""Connections from receive servers to a worker, and its status over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

_STATUS_S = 3.0
_END_S = 1.0
_LONGEST = 65_536
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


async def announce_move(address: str, url: str, token: str) -> bool:
    """Have a worker send its client to another address; whether it has a client."""
    headers = f"X-Bongsu-Url: {quote(url, safe=_URL)}\r\nX-Bongsu-Token: {quote(token)}\r\n"
    try:
        return await _get(address, "/move", _END_S, headers) == b"moving\n"
    except OSError:
        return False


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
            answer = await reader.read(_LONGEST)
            while (more := await reader.read(_LONGEST)) and len(answer) < _LONGEST:
                answer += more
        finally:
            writer.close()
    return answer.partition(b"\r\n\r\n")[2]
