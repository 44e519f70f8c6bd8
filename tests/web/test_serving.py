"""What one client may take of an HTTP service: slow, endless and odd requests, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.settings import Settings
from tests.stores import *  # noqa: F403 - fixtures
from tests.stores import serving
from web import answers
from web.serving import BoundedHeaders

HEAD = b"GET /hazards.json HTTP/1.1\r\nHost: bongsu\r\n"


@pytest.fixture
async def port(tmp_path, database_url, monkeypatch) -> AsyncIterator[int]:
    """A server that waits a second for headers and bodies."""
    monkeypatch.setattr(BoundedHeaders, "headers_s", 1.0)
    monkeypatch.setattr(answers, "_BODY_S", 1.0)
    async with serving(Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"))) as (url, _):
        yield int(url.rpartition(":")[2])


async def talk(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """All that is answered to these bytes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_silent_and_slow_connections_are_closed(port):
    said = await asyncio.gather(
        talk(port), talk(port, HEAD), talk(port, *(b"x: y\r\n" for _ in range(4)), pause_s=0.5),
        talk(port, HEAD + b"\r\n" + b"GET /haz"),
    )  # fmt: skip
    assert said[:3] == [b"", b"", b""]
    # The request before it was answered in full.
    assert said[3].startswith(b"HTTP/1.1 200") and said[3].endswith(b"}")


async def test_headers_without_end_are_refused(port):
    part = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 900) for number in range(64))
    said = await talk(port, HEAD, *[part] * 8)
    assert said == b"" or said.startswith(b"HTTP/1.1 400")
    ok = await talk(port, HEAD + b"Connection: close\r\nX-Long: " + b"y" * 30_000 + b"\r\n\r\n")
    assert ok.startswith(b"HTTP/1.1 200")


async def test_slow_body_is_refused_in_time(port):
    head = b"POST /api/session HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"
    said = await talk(port, head + b'{"key": "')
    assert said.startswith(b"HTTP/1.1 408") and b"the body must come within" in said


@pytest.mark.parametrize(
    "line",
    [
        b"GET /api/incidents?camera=\xff\xfe HTTP/1.1", b"GET /api/incidents/stream?after=\xff HTTP/1.1",
        b"GET /api/incidents/stream?after=-1&after=99999999999999999999 HTTP/1.1",
        b"GET /api/incidents/99999999999999999999999 HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /%ff%00/ HTTP/1.1",
        b"GET //evil.example/%2e%2e HTTP/1.1", b"GET /api/incidents?limit=-1&limit=1e9 HTTP/1.1",
        b"GET http://evil.example/feed.json/ HTTP/1.1", b"GET * HTTP/1.1", b"TRACE /feed.json HTTP/1.1",
        b"PROPFIND /feed.json HTTP/1.1", b"HEAD /api/incidents/0 HTTP/1.1", b"GET /static/../api/site.py HTTP/1.1",
        b"GET /static/%2e%2e/server.py HTTP/1.1", b"OPTIONS * HTTP/1.1", b"CONNECT evil.example:443 HTTP/1.1",
    ],
)  # fmt: skip
async def test_odd_request_is_answered_below_500(port, line):
    extra = (
        b"Host: b\r\nConnection: close\r\nLast-Event-ID: \xff\r\nRange: bytes=9-1,-\r\nIf-None-Match: ,W/,*x\r\n\r\n"
    )
    said = await talk(port, line + b"\r\n" + extra)
    status = int(said.split(b" ", 2)[1])
    assert 200 <= status < 500
    assert b"location: //" not in said.lower() and b"evil" not in said.partition(b"\r\n\r\n")[0]
