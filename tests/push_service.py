"""A push service that keeps to RFC 8030, 8291 and 8292, and the browsers that are subscribed there.

It has cryptography of its own rather than the sender's libraries: it verifies each signature, and what it accepts a
browser decrypts with its private key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from store.push_endpoints import Endpoint

_MAX_BYTES = 4096
_DAY_S = 24 * 3600


@dataclass
class Browser:
    """One subscribed browser; `received` are its messages, decrypted, in order."""

    url: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: hashlib.sha256(str(time.time_ns()).encode()).digest()[:16])
    received: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def point(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.url, encode(self.point), encode(self.auth))

    def decrypt(self, body: bytes) -> bytes:
        """RFC 8291, section 3.4, and RFC 8188 for its one record."""
        salt, (size, length) = body[:16], struct.unpack("!LB", body[16:21])
        sender, record = body[21 : 21 + length], body[21 + length :]
        assert 18 <= len(record) <= size
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self.key.exchange(ec.ECDH(), point)
        ikm = derive(self.auth, shared, b"WebPush: info\0" + self.point + sender, 32)
        key = derive(salt, ikm, b"Content-Encoding: aes128gcm\0", 16)
        nonce = derive(salt, ikm, b"Content-Encoding: nonce\0", 12)
        text, delimiter, padding = AESGCM(key).decrypt(nonce, record, None).rpartition(b"\x02")
        assert delimiter and not padding.strip(b"\0")
        return text


class PushService:
    """Use with `async with`; `answers` holds what to answer at a browser's next requests, in order."""

    def __init__(self, port: int = 0) -> None:
        self.browsers: dict[str, Browser] = {}
        self.answers: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.busy, self.busiest = 0, 0
        self.delay_s = 0.0
        self._port = port

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2 * _MAX_BYTES)
        app.router.add_post("/push/{name}", self._push)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._port}"

    def browser(self, name: str) -> Browser:
        """A browser that subscribes."""
        self.browsers[name] = Browser(f"http://{self.host}/push/{name}")
        return self.browsers[name]

    async def _push(self, request: web.Request) -> web.Response:
        import asyncio

        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await asyncio.sleep(self.delay_s)
            return self._answer(request, await request.read())
        finally:
            self.busy -= 1

    def _answer(self, request: web.Request, body: bytes) -> web.Response:
        name, headers = request.match_info["name"], request.headers
        if (planned := self.answers.get(name)) is not None and planned:
            status, more = planned.pop(0)
            return web.Response(status=status, headers=more)
        browser = self.browsers.get(name)
        if browser is None:
            return web.Response(status=404)
        if problem := self._problem(headers):
            return web.Response(status=400, text=problem)
        if not signed(headers.get("Authorization", ""), f"http://{self.host}"):
            return web.Response(status=403)
        if len(body) > _MAX_BYTES:
            return web.Response(status=413)
        browser.requests.append(dict(headers))
        browser.received.append(json.loads(browser.decrypt(body)))
        return web.Response(status=201, headers={"Location": f"/message/{len(browser.received)}"})

    def _problem(self, headers: Any) -> str:
        if not headers.get("TTL", "").isdecimal():
            return "TTL is required (RFC 8030, 5.2)"
        if headers.get("Content-Encoding") != "aes128gcm":
            return "Content-Encoding must be aes128gcm (RFC 8291)"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", headers.get("Topic", "x")):
            return "Topic must be 1 to 32 characters of base64url (RFC 8030, 5.4)"
        if headers.get("Urgency", "normal") not in ("very-low", "low", "normal", "high"):
            return "Urgency (RFC 8030, 5.3)"
        return ""


def signed(authorization: str, audience: str) -> bool:
    """RFC 8292, section 3: the token is signed with the key beside it, for this origin and at most a day."""
    match = re.fullmatch(r"vapid t=([\w-]+)\.([\w-]+)\.([\w-]+), ?k=([\w-]+)", authorization)
    if match is None:
        return False
    head, claims = (json.loads(decode(match[part])) for part in (1, 2))
    raw, now = decode(match[3]), time.time()
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(match[4]))
    pair = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    try:
        key.verify(utils.encode_dss_signature(*pair), f"{match[1]}.{match[2]}".encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    is_valid = now < claims["exp"] <= now + _DAY_S
    return head == {"typ": "JWT", "alg": "ES256"} and claims["aud"] == audience and is_valid and bool(claims.get("sub"))


def derive(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
