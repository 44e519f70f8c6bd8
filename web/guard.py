"""The guard in front of every endpoint: rate limits, authentication, and the right to read; plain ASGI.

It guards the live stream too, so it adds no wrapper that would be kept for as long as a stream is open.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable

import structlog
from prometheus_client import Counter
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from web.keys import ANYBODY, Caller, Key, digest_of
from web.site import Site, UnavailableError

log = structlog.get_logger()

refusals_total = Counter("bongsu_api_refusals_total", "Requests that the guard refused", ["reason"])

COOKIE = "bongsu_session"
WRONG_KEYS_A_MINUTE = 10


class RefusedError(Exception):
    """The request is refused with this answer."""

    def __init__(self, reason: str, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.reason, self.status, self.detail, self.headers = reason, status, detail, headers or {}

    def answer(self) -> Response:
        """The reason, for the client."""
        return JSONResponse({"detail": self.detail}, self.status, self.headers)


class Guard:
    """Lets a request through, with the caller as `bongsu.caller` and the key as `bongsu.key`, or refuses it."""

    def __init__(
        self,
        app: ASGIApp,
        site: Site,
        *,
        guarded: tuple[str, ...],
        sign_in: str,
        basic: tuple[str, ...] = (),
        answer: Callable[[RefusedError], Response] = RefusedError.answer,
    ) -> None:
        """Guard an application.

        Args:
            app: the application.
            site: its keys and limits.
            guarded: prefixes of the paths that count towards limits and need a caller; all others are open.
            sign_in: the path that exchanges a key for a cookie, open to clients without one; empty if there is none.
            basic: prefixes of the guarded paths for clients that support only Basic, such as feed readers: a 401 there
                asks for it. Its password (or its user name) is the key, for reading only. Empty: never.
            answer: writes a refusal in the service's own format.
        """
        self._app = app
        self._site = site
        self._guarded = guarded
        self._sign_in = sign_in
        self._basic = basic
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                key = scope["bongsu.key"] = await self._admit(scope)
                scope["bongsu.caller"] = ANYBODY if key is None else Caller(key.name, key.role)
            except RefusedError as error:
                refusals_total.labels(error.reason).inc()
                await self._answer(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Key | None:
        path: str = scope["path"]
        if not path.startswith(self._guarded) or scope.get("method") == "OPTIONS":
            # The page itself has no data, and users sign in there.
            return None
        headers = Headers(scope=scope)
        # A browser sends Basic credentials by itself once it has them, so they must never suffice to change anything.
        is_reading = bool(self._basic) and scope.get("method") in ("GET", "HEAD") and path != self._sign_in
        try:
            return await self._identify(path, headers, client_of(scope, headers, self._site), may_be_basic=is_reading)
        except RefusedError as error:
            # For a request of the page's script, a browser would open its own password dialog.
            is_asked = is_reading and path.startswith(self._basic)
            if error.status == 401 and is_asked and "x-requested-with" not in headers:
                challenge = f'{error.headers["WWW-Authenticate"]}, Basic realm="bongsu", charset="UTF-8"'
                error.headers["WWW-Authenticate"] = challenge
            raise

    async def _identify(self, path: str, headers: Headers, client: str, *, may_be_basic: bool) -> Key | None:
        text = _bearer(headers) or (_basic_key(headers) if may_be_basic else None)
        key = None if text is None else check_key(text, client, self._site)
        wait_s = self._site.requests.take(client if key is None else f"key {key.name}")
        if wait_s:
            raise _too_many("rate", "too many requests", wait_s)
        try:
            key = key or await self._key_of_cookie(headers)
        except UnavailableError as error:
            log.warning("request_failed", reason=str(error))
            raise RefusedError("store", 503, "the database is not available: try again later") from error
        if key is None and self._site.is_read_by_key and path != self._sign_in:
            or_sign_in = f", or POST it to {self._sign_in}" if self._sign_in else ""
            raise unknown_caller(f"this API is read by key: send Authorization: Bearer KEY{or_sign_in}")
        return key

    async def _key_of_cookie(self, headers: Headers) -> Key | None:
        token = cookie_token(headers)
        digest = None if token is None else await self._site.signed_in_as(digest_of(token))
        # Removing a key from the file ends its sign-ins.
        return None if digest is None else self._site.keys.find_digest(digest)


def check_key(text: str, client: str, site: Site) -> Key:
    """Find the key with that text.

    Raises:
        RefusedError: it is wrong, or this client has sent too many wrong ones.
    """
    # Checked before the key is looked up, or guessing could continue despite the refusals.
    wait_s = site.failures.wait(client)
    if wait_s:
        raise _too_many("keys", "too many wrong keys", wait_s)
    key = site.keys.find(text)
    if key is None:
        site.failures.take(client)
        log.warning("key_refused")
        raise unknown_caller("this key is not known: check it, or ask the operator for one")
    return key


def may_go_on(scope: Scope, site: Site) -> bool:
    """Whether a caller that was let through may still read: a stream may outlast its key."""
    key: Key | None = scope["bongsu.key"]
    return key is None or not site.is_read_by_key or site.keys.holds(key)


def unknown_caller(detail: str) -> RefusedError:
    """A 401 that says how to send a key."""
    return RefusedError("key", 401, detail, {"WWW-Authenticate": 'Bearer realm="bongsu"'})


def client_of(scope: Scope, headers: Headers, site: Site) -> str:
    """The client, as the name of its bucket."""
    peer = scope.get("client")
    forwarded_for, forwarded = (", ".join(headers.getlist(name)) for name in ("x-forwarded-for", "forwarded"))
    return site.proxies.client(peer[0] if peer else "", forwarded_for, forwarded)


def cookie_token(headers: Headers) -> str | None:
    """The token of the session cookie, if one was sent."""
    # Not by http.cookies: a single cookie that it rejects, from any service on this host, hides all others.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE) or None


def _bearer(headers: Headers) -> str | None:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def _basic_key(headers: Headers) -> str | None:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        # Counts as a wrong key.
        return text
    return password or user


def _too_many(reason: str, what: str, wait_s: float) -> RefusedError:
    seconds = math.ceil(wait_s)
    return RefusedError(reason, 429, f"{what}: try again in {seconds} s", {"Retry-After": str(seconds)})
