"""Speaks Web Push: encrypts (RFC 8291), signs (RFC 8292) and delivers (RFC 8030) one message to one browser.

http-ece and py-vapid do the cryptography; pywebpush, which joins them, brings a second HTTP client and can neither keep
to public addresses nor report `Retry-After`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import http_ece
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02

from functions.push_keys import decode_base64, read_private
from notify.posting.http import read_retry_after
from notify.pushing.settings import PushSettings
from store.push_endpoints import Endpoint, is_public

log = structlog.get_logger()

Outcome = Literal["sent", "gone", "later", "refused"]
_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=4)
_TOKEN_S, _TOKEN_RENEWED_S = 12 * 3600, 6 * 3600
"""A signature is valid for a day at most (RFC 8292); reusing it spares the push service its check."""
_BLOCKED_S = 30.0
_ONE_RECORD = 4096
_SIZE_MAX = 3993


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message."""

    outcome: Outcome
    """Taken; the browser has unsubscribed; to be tried again; not to be tried again as it is."""
    after_s: float = 0.0
    """When it may be tried again, for "later"."""
    reason: str = ""
    is_theirs: bool = True
    """Whether a failure speaks against the subscription: not if nothing was tried, and not if it asks for less."""


class PushSender:
    """Sends to any push service, and leaves alone for a while those that ask for it."""

    def __init__(self, session: aiohttp.ClientSession, settings: PushSettings) -> None:
        """Send with this client, which must keep to public addresses, and with the key of these settings.

        Raises:
            ValueError: the key is not one.
        """
        self.key = read_private(settings.push_key.reveal())
        self.allowed = settings.allowed
        self._session = session
        self._contact = settings.push_contact
        self._vapid = Vapid02(self.key)
        # The contact was checked with the settings; py-vapid's own check refuses some that push services accept.
        self._vapid.conf["no-strict"] = True
        self._tokens: dict[str, tuple[float, str]] = {}
        self._blocked: dict[str, float] = {}

    async def send(self, endpoint: Endpoint, payload: bytes, *, topic: str, ttl_s: int, urgency: str) -> Delivery:
        """Deliver one message; never raises for what an endpoint or a push service does.

        Args:
            endpoint: where to.
            payload: at most 3,993 bytes.
            topic: a message of the same topic that waits there is replaced.
            ttl_s: how long the push service keeps it for a device that is away.
            urgency: "very-low", "low", "normal" or "high".
        """
        origin = endpoint.origin
        if (left_s := self._blocked.get(origin, 0.0) - time.time()) > 0:
            return Delivery("later", left_s, "the push service asked to wait", is_theirs=False)
        try:
            endpoint.require_usable(self.allowed)
            body = self._encrypt(endpoint, payload)
        except (ValueError, http_ece.ECEException) as error:
            return Delivery("refused", reason=str(error))
        headers = {
            "Authorization": self._token(origin),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(ttl_s),
            "Topic": topic,
            "Urgency": urgency,
        }
        try:
            async with self._session.post(endpoint.url, data=body, headers=headers, allow_redirects=False) as response:
                return self._judge(origin, response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(getattr(error, "os_error", None), NotPublicError):
                # Nobody's push service: it was subscribed to reach into our network.
                return Delivery("gone", reason="not at a public address")
            # Its text would name the address.
            return Delivery("later", _BLOCKED_S, type(error).__name__)

    def _judge(self, origin: str, response: aiohttp.ClientResponse) -> Delivery:
        status = response.status
        if 200 <= status < 300:
            return Delivery("sent")
        if status in (404, 410):
            return Delivery("gone")
        if status == 429 or status >= 500:
            until = read_retry_after(response.headers)
            after_s = _BLOCKED_S if until is None else min(max(until - time.time(), 1.0), 300.0)
            if status == 429 or until is not None:
                self._blocked[origin] = time.time() + after_s
            return Delivery("later", after_s, str(status), is_theirs=status != 429)
        return Delivery("refused", reason=str(status), is_theirs=status != 413)

    def _encrypt(self, endpoint: Endpoint, payload: bytes) -> bytes:
        if len(payload) > _SIZE_MAX:
            raise ValueError(f"a push message must have at most {_SIZE_MAX} bytes, got {len(payload)}")
        sealed: bytes = http_ece.encrypt(
            payload,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=decode_base64(endpoint.p256dh),
            auth_secret=decode_base64(endpoint.auth),
            rs=_ONE_RECORD,
            version="aes128gcm",
        )
        return sealed

    def _token(self, origin: str) -> str:
        now = time.time()
        made_at, token = self._tokens.get(origin, (0.0, ""))
        if now - made_at > _TOKEN_RENEWED_S:
            claims = {"aud": origin, "exp": int(now) + _TOKEN_S, "sub": self._contact}
            token = self._vapid.sign(claims)["Authorization"]
            self._tokens[origin] = now, token
        return token


class NotPublicError(OSError):
    """A name means no public address."""


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only, so that no endpoint leads into our own network.

    aiohttp connects to what this returns, so a name that means another address a moment later changes nothing.
    """

    def __init__(self, allowed: Collection[str], inner: AbstractResolver | None = None) -> None:
        """Look names up as the system does; those in `allowed` may mean any address."""
        self._allowed = allowed
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host in self._allowed or f"{host}:{port}" in self._allowed:
            return found
        public = [each for each in found if is_public(each["host"])]
        if not public:
            raise NotPublicError(None, "a push service must have a public address")
        return public

    async def close(self) -> None:
        await self._inner.close()


@contextlib.asynccontextmanager
async def open_sender(settings: PushSettings) -> AsyncIterator[PushSender]:
    """A sender with an HTTP client of its own: no cookies, no redirects, no proxy of the environment.

    Raises:
        ValueError: the key is not one.
    """
    resolver = PublicResolver(settings.allowed)
    connector = aiohttp.TCPConnector(resolver=resolver, limit=settings.push_concurrency)
    cookies = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, cookie_jar=cookies) as session:
        yield PushSender(session, settings)


async def send_all(sends: dict[int, Any], *, at_once: int, within_s: float) -> dict[int, Delivery]:
    """Run one coroutine function for each subscriber, so many at once; those that time runs out for are "later".

    Args:
        sends: by the subscriber's id, what sends to it.
        at_once: how many run at once.
        within_s: seconds for all of them.
    """
    turn = asyncio.Semaphore(at_once)
    deadline = asyncio.get_running_loop().time() + within_s

    async def one(send: Any) -> Delivery:
        try:
            async with asyncio.timeout_at(deadline), turn:
                delivery: Delivery = await send()
                return delivery
        except TimeoutError:
            return Delivery("later", 1.0, "no time left", is_theirs=False)

    results = await asyncio.gather(*(one(send) for send in sends.values()))
    return dict(zip(sends, results, strict=True))
