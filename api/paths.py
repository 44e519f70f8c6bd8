"""Handling that is the same for every path: sub-path prefix, HEAD, OPTIONS, 405 and trailing slashes; plain ASGI."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = "bongsu.head"
"""Key in the scope of a request for headers only."""

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_STATIC = "/static/"


class SubPath:
    """Removes the path of the public URL if the proxy has not."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """Wrap an application.

        Args:
            app: the application.
            prefix: path of the public URL without a slash at its end, such as `/cctv`; empty for none.
        """
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._prefix and scope["type"] in ("http", "websocket"):
            path: str = scope["path"]
            if path == self._prefix and scope["type"] == "http":
                # Relative addresses in the page need the trailing slash.
                await _moved(f"{self._prefix}/", scope)(scope, receive, send)
                return
            if path.startswith(f"{self._prefix}/"):
                scope = {**scope, "path": path.removeprefix(self._prefix)}
                scope["raw_path"] = scope.get("raw_path", b"").removeprefix(self._prefix.encode())
        await self._app(scope, receive, send)


class Methods:
    """Answers HEAD as GET without the body, and OPTIONS, 405 and trailing slashes from the routes."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await self._say_options(scope)(scope, receive, send)
        elif (moved := self._without_slash(scope)) is not None:
            await moved(scope, receive, send)
        else:
            is_head = scope["method"] == "HEAD"
            if is_head:
                scope = {**scope, "method": "GET", HEAD: True}
            await self._app(scope, receive, _Sender(self, scope, send, is_head=is_head))

    def allowed(self, scope: Scope) -> list[str]:
        """The methods of this path; empty if there is no such path."""
        if scope["path"].startswith(_STATIC):
            return ["GET", "HEAD", "OPTIONS"]
        found = [method for method in _METHODS if self._has(scope, scope["path"], method)]
        if "GET" in found:
            found.insert(1, "HEAD")
        return [*found, "OPTIONS"] if found else []

    def _has(self, scope: Scope, path: str, method: str) -> bool:
        asked = {**scope, "path": path, "method": method}
        return any(route.matches(asked)[0] is Match.FULL for route in self._routes)

    def _say_options(self, scope: Scope) -> Response:
        methods = self.allowed(scope)
        if not methods:
            return JSONResponse({"detail": f"there is nothing at {scope['path'][:200]}"}, 404)
        return Response(status_code=204, headers={"Allow": ", ".join(methods)})

    def _without_slash(self, scope: Scope) -> Response | None:
        path: str = scope["path"]
        shorter = path.removesuffix("/")
        if shorter == path or not shorter or path.startswith(_STATIC):
            return None
        if self._has(scope, path, "GET") or not self._has(scope, shorter, "GET"):
            return None
        # Relative, because behind a proxy neither scheme nor host nor prefix is certain.
        name = scope.get("raw_path", path.encode()).removesuffix(b"/").rpartition(b"/")[2].decode("ascii", "replace")
        return _moved(f"../{name}", scope)


class _Sender:
    """Passes a response on: without its body for HEAD, and a 405 with all methods of the path."""

    def __init__(self, methods: Methods, scope: Scope, send: Send, *, is_head: bool) -> None:
        self._methods, self._scope, self._send, self._is_head = methods, scope, send, is_head

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 405:
            MutableHeaders(scope=message)["allow"] = ", ".join(self._methods.allowed(self._scope))
        if message["type"] == "http.response.body" and self._is_head:
            message = {**message, "body": b""}
        await self._send(message)


def _moved(location: str, scope: Scope) -> Response:
    query = scope["query_string"].decode("latin-1")
    return Response(status_code=307, headers={"Location": f"{location}?{query}" if query else location})
