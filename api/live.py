"""Serves the live stream as server-sent events and over WebSocket; plain ASGI, for thousands of readers.

A stream is one coroutine without an extra task: instead of waiting for its reader to leave, it checks for that whenever
it has something to send. The hub sends something every few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import filters
from api.paths import HEAD
from api.site import Site
from api.stream import HELLO, Notice, Reader, TooManyReadersError
from functions.event import HAZARDS
from functions.settings import split
from store.queries import Bbox
from web.guard import RefusedError, may_go_on

EVENTS = "/api/incidents/stream"
SOCKET = "/api/incidents/ws"

_HEARD_AT_ONCE = 20
_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        # A buffering proxy would delay the live stream.
        (b"x-accel-buffering", b"no"),
    ],
}
_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
# From the registry of RFC 6455: try again later.
_TRY_AGAIN = 1013


class Live:
    """Serves the two live addresses, and passes all other requests to the application."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site
        self._allowed = split(site.settings.cors_origins)
        if site.public_url:
            parts = urlsplit(site.public_url)
            self._allowed.append(f"{parts.scheme}://{parts.netloc}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind, path = scope["type"], scope.get("path")
        is_events = kind == "http" and path == EVENTS and scope["method"] == "GET"
        if not is_events and kind != "websocket":
            await self._app(scope, receive, send)
            return
        try:
            if is_events and scope.get(HEAD):
                await send(_START)
                await send(_END)
            elif is_events:
                await self._send_events(scope, receive, send)
            elif path == SOCKET:
                await self._send_messages(scope, receive, send)
            else:
                raise RefusedError("path", 404, f"there is no WebSocket at {path}: use {SOCKET}")
        except filters.BadQueryError as error:
            await JSONResponse({"detail": str(error)}, 422)(scope, receive, send)
        except RefusedError as error:
            await error.answer()(scope, receive, send)

    async def _send_events(self, scope: Scope, receive: Receive, send: Send) -> None:
        after = _after(scope)
        reader = self._open()
        try:
            await send(_START)
            await send({"type": "http.response.body", "body": HELLO, "more_body": True})
            # Not through `read`: its coroutine frames would take memory for each reader.
            async for batch in self._site.hub.follow(reader, after):
                if _count_received(receive) is None:
                    return
                if not may_go_on(scope, self._site):
                    break
                await send({"type": "http.response.body", "body": batch.events(), "more_body": True})
            await send(_END)
        finally:
            self._site.hub.close(reader)

    async def _send_messages(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        if origin and not self._is_allowed(origin, headers.get("host", "")):
            # A browser opens a WebSocket to another site without a CORS check, and sends its cookies along.
            raise RefusedError("origin", 403, f"pages of {origin[:100]!r} may not read this: set BONGSU_CORS_ORIGINS")
        after, query = _after(scope), _query(scope)
        hazards = filters.named("hazard", filters.parse_hazards, query.get("hazard"))
        bbox = filters.named("bbox", filters.parse_bbox, query.get("bbox"))
        reader = self._open()
        try:
            await receive()
            await send({"type": "websocket.accept"})
            async for batch in self._site.hub.follow(reader, after):
                if _count_received(receive) is None:
                    return
                if not may_go_on(scope, self._site):
                    break
                for notice in batch.notices:
                    if _is_wanted(notice, hazards, bbox):
                        await send({"type": "websocket.send", "text": _message(notice)})
            await send({"type": "websocket.close", "code": _TRY_AGAIN})
        except OSError:
            # Raised by the server when sending to a client that has left.
            return
        finally:
            self._site.hub.close(reader)

    def _open(self) -> Reader:
        try:
            return self._site.hub.open()
        except TooManyReadersError as error:
            raise RefusedError("readers", 503, f"{error}: try again later", {"Retry-After": "5"}) from error

    def _is_allowed(self, origin: str, host: str) -> bool:
        # An origin is a scheme and a host; an invalid one may be any text, for which `urlsplit` may raise.
        return "*" in self._allowed or origin in self._allowed or origin.partition("://")[2] == host != ""


def _after(scope: Scope) -> int | None:
    """The revision to resume after; a browser that reconnects sends it in a header."""
    last = filters.named("Last-Event-ID", filters.parse_revision, Headers(scope=scope).get("last-event-id"))
    return filters.named("after", filters.parse_revision, _query(scope).get("after")) if last is None else last


def _query(scope: Scope) -> dict[str, str]:
    asked = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=50)
    return {name: values[-1] for name, values in asked.items()}


def _count_received(receive: Receive) -> int | None:
    """The number of received messages, without waiting; None if the reader has left. Their content is ignored."""
    for count in range(_HEARD_AT_ONCE):
        message = _next_if_ready(receive)
        if message is None:
            return count
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            return None
    return _HEARD_AT_ONCE


def _next_if_ready(receive: Receive) -> Message | None:
    """The next message if it has arrived: runs the server's coroutine until it would wait."""
    waiting = receive().__await__()
    try:
        next(waiting)
    except StopIteration as came:
        return came.value  # type: ignore[no-any-return]
    finally:
        close = getattr(waiting, "close", None)
        if close is not None:
            close()
    return None


def _is_wanted(notice: Notice, hazards: Sequence[str], bbox: Bbox | None) -> bool:
    if notice.name not in ("incident", "post"):
        return True
    if len(hazards) < len(HAZARDS) and notice.hazard not in hazards:
        return False
    return bbox is None or (notice.position is not None and _is_within(bbox, notice.position))


def _is_within(bbox: Bbox, position: tuple[float, float]) -> bool:
    west, south, east, north = bbox
    lon, lat = position
    is_between = west <= lon <= east if west <= east else lon >= west or lon <= east
    return is_between and south <= lat <= north


def _message(notice: Notice) -> str:
    body = {"event": notice.name, "id": notice.revision, "data": msgspec.Raw(notice.data)}
    return msgspec.json.encode(body).decode()
