"""Doubles of the servers that alerts are posted on: real HTTP servers that keep the documented rules and refusals.

Tests open them one by one. The chaos run starts all three as a process of their own (`bench/channels.py`), which reads
orders from stdin and notes in a ledger what each server took: what the public would have seen.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import math
import re
import time
import unicodedata
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

import standardwebhooks
from aiohttp import web

HTML = "<html><body><h1>503 Service Unavailable</h1>secret-token-of-nobody</body></html>"


class Window:
    """A rate limit: so many in each window, which begins with the first.

    A proof that has to end cannot wait for 15 minutes: with `wait_s`, a window that is used up ends after so long.
    """

    def __init__(self, limit: int, window_s: float, wait_s: float | None = None) -> None:
        self.limit = limit
        self._window_s, self._wait_s = window_s, wait_s
        self._used = 0
        self.reset_at = 0
        """Unix time at which the window ends, whole seconds as servers tell it."""

    @property
    def left(self) -> int:
        if time.time() >= self.reset_at:
            self._used, self.reset_at = 0, math.ceil(time.time() + self._window_s)
        return self.limit - self._used

    def take(self) -> int:
        """Use one; how many are left."""
        left = self.left - 1
        self._used += 1
        if left == 0 and self._wait_s is not None:
            self.reset_at = math.ceil(time.time() + self._wait_s)
        return left


class Double:
    """One server on a free port of loopback. `faults` are what its next posts meet, in order; then all is well.

    A fault is "html-503", "html-200" (a proxy's own page; nothing was done), "json-500", "cut" (nothing was done),
    "cut-after" (the post is out, its answer is lost), "slow" (the post is out, its answer comes after `slow_s`) or a
    status with headers such as (429, {...}).
    """

    name = ""
    slow_s = 30.0

    def __init__(self) -> None:
        self.faults: list[object] = []
        self.posts: list[dict] = []
        self.met: Counter[str] = Counter()
        """What requests met: faults, and refusals of its own by status."""
        self.ledger: Path | None = None
        self.requests = 0
        self.url = ""
        self._numbers = itertools.count(1001)
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._port = 0

    async def __aenter__(self) -> Double:
        app = web.Application(client_max_size=20_000_000)
        self.route(app.router)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.come_back()
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def come_back(self) -> None:
        """Listen, again on the same port."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await self._site.start()
        self._port = self._site._server.sockets[0].getsockname()[1]

    async def go_away(self) -> None:
        """Listen no more, and cut what is open, whatever it waits for."""
        await self._site.stop()
        for connection in self._runner.server.connections:
            connection.force_close()

    def route(self, router: web.UrlDispatcher) -> None:
        raise NotImplementedError

    def limited(self, seconds: float) -> tuple[int, dict[str, str]]:
        """The fault of a rate limit that ends in so many seconds."""
        raise NotImplementedError

    def _note(self, incident: int | None, words: str) -> None:
        """Write into the ledger what is out now. `incident` is as the post itself names it."""
        if self.ledger is not None:
            with self.ledger.open("a") as ledger:
                ledger.write(json.dumps({"channel": self.name, "incident": incident, "words": words}) + "\n")

    async def _meet(self, request: web.Request, publish) -> web.StreamResponse:
        """Answer a post by the next fault, or by `publish()`."""
        self.requests += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            self.met[str(fault[0]) + " as set" if isinstance(fault, tuple) else str(fault)] += 1
        if isinstance(fault, str) and fault.startswith("html-"):
            return web.Response(status=int(fault[-3:]), text=HTML, content_type="text/html")
        if fault == "json-500":
            return web.json_response({"title": "Internal Server Error", "status": 500}, status=500)
        if isinstance(fault, tuple):
            return web.json_response(
                {"title": "set", "detail": "as set", "error": "as set"}, status=fault[0], headers=fault[1]
            )
        if fault == "cut":
            request.transport.abort()
            return web.Response()
        answer = publish()
        if answer.status >= 400:
            self.met[str(answer.status)] += 1
        if fault == "cut-after":
            request.transport.abort()
        elif fault == "slow":
            await asyncio.sleep(self.slow_s)
        return answer


class XDouble(Double):
    """X: OAuth 1.0a checked, 280 weighted characters, duplicates refused, 100 posts in 15 minutes, media by v2."""

    name = "x"
    signed_for = "https://api.twitter.com"
    """tweepy signs for this server wherever its requests are taken."""

    def __init__(self, keys: tuple[str, str, str, str], limit: int = 100, wait_s: float | None = None) -> None:
        super().__init__()
        self.api_key, self.api_secret, self.token, self.token_secret = keys
        self.window = Window(limit, 900, wait_s)
        self.media: dict[str, dict] = {}
        self.upload_faults: list[int] = []
        self.is_losing_media = False
        self.billed_usd = 0.0

    def route(self, router: web.UrlDispatcher) -> None:
        router.add_post("/2/tweets", self._tweet)
        router.add_post("/2/media/upload", self._upload)
        router.add_post("/2/media/metadata", self._describe)

    async def _tweet(self, request: web.Request) -> web.StreamResponse:
        if not self._is_signed(request):
            return self._refuse(401, "Unauthorized")
        said = await request.json()
        return await self._meet(request, lambda: self._publish(said))

    def _publish(self, said: dict) -> web.Response:
        text = said["text"]
        left = self.window.left
        if left <= 0:
            return self._refuse(429, "Too Many Requests", self._limits(0))
        if weigh(text) > 280:
            return self._refuse(400, "Your Tweet text is too long.")
        media = said.get("media", {}).get("media_ids", [])
        if any(one not in self.media or self.is_losing_media for one in media):
            return self._refuse(400, "Your media IDs are invalid.")
        if any(text == post["text"] for post in self.posts):
            detail = "You are not allowed to create a Tweet with duplicate content."
            return self._refuse(403, detail, self._limits(left))
        self.billed_usd += 0.2 if re.search(r"\w[.。]\w{2,}|://", text) else 0.015
        number = str(next(self._numbers))
        self.posts.append({"id": number, "text": text, "media": [self.media[one] for one in media]})
        numbered = re.search(r" \[(\d+)\]$", text)
        self._note(int(numbered[1]) if numbered else None, text)
        return web.json_response(
            {"data": {"id": number, "text": text, "edit_history_tweet_ids": [number]}},
            status=201,
            headers=self._limits(self._used()),
        )

    def limited(self, seconds: float) -> tuple[int, dict[str, str]]:
        return 429, {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(math.ceil(time.time() + seconds))}

    def _used(self) -> int:
        left = self.window.take()
        if left == 0:
            self.met["limit reached"] += 1
        return left

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if not self._is_signed(request):
            return self._refuse(401, "Unauthorized")
        if self.upload_faults:
            return web.Response(status=self.upload_faults.pop(0), text=HTML, content_type="text/html")
        form = await request.post()
        jpeg = form["media"].file.read()
        if form["media_category"] != "tweet_image" or len(jpeg) > 5_000_000 or not jpeg.startswith(b"\xff\xd8"):
            return self._refuse(400, "media type unrecognized")
        number = str(next(self._numbers))
        self.media[number] = {"jpeg": jpeg, "alt": None}
        return web.json_response({"data": {"id": number, "media_key": f"3_{number}", "size": len(jpeg)}})

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        if not self._is_signed(request):
            return self._refuse(401, "Unauthorized")
        body = await request.json()
        alt = body["metadata"]["alt_text"]["text"]
        if len(alt) > 1000:
            return self._refuse(400, "alt text is too long")
        self.media[body["id"]]["alt"] = alt
        return web.json_response({"data": {"id": body["id"]}})

    def _limits(self, left: int) -> dict[str, str]:
        limits = {"limit": self.window.limit, "remaining": left, "reset": self.window.reset_at}
        return {f"x-rate-limit-{name}": str(value) for name, value in limits.items()}

    @staticmethod
    def _refuse(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
        body = {"detail": detail, "type": "about:blank", "title": "Refused", "status": status}
        return web.json_response(body, status=status, headers=headers)

    def _is_signed(self, request: web.Request) -> bool:
        """OAuth 1.0a, HMAC-SHA1, worked out from RFC 5849 and not by the library that signed."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "OAuth":
            return False
        pairs = (part.strip().partition("=") for part in given.split(","))
        oauth = {name: unquote(value.strip('"')) for name, _, value in pairs}
        signature = oauth.pop("oauth_signature", "")
        if (oauth.get("oauth_consumer_key"), oauth.get("oauth_token")) != (self.api_key, self.token):
            return False
        listed = "&".join(f"{_escape(name)}={_escape(value)}" for name, value in sorted(oauth.items()))
        secret = f"{_escape(self.api_secret)}&{_escape(self.token_secret)}".encode()
        for base in (self.signed_for, self.url):
            signed = "&".join(map(_escape, (request.method, f"{base}{request.path}", listed)))
            digest = hmac.digest(secret, signed.encode(), hashlib.sha1)
            if hmac.compare_digest(base64.b64encode(digest).decode(), signature):
                return True
        return False


class MastodonDouble(Double):
    """Mastodon: bearer token, 500 characters, idempotency keys, pictures that take a while, 300 posts in 3 hours."""

    name = "mastodon"

    def __init__(self, token: str, limit: int = 300) -> None:
        super().__init__()
        self.token = token
        self.window = Window(limit, 10_800)
        self.media: dict[str, dict] = {}
        self.looks_until_ready = 0
        self.look_s = 0.0
        """How long each look at a picture that is not ready takes."""
        self.is_broken_media = False
        """Whether the server finds, once it has processed a picture, that it can make nothing of it."""
        self.limits: dict | None = None
        """`configuration` of `/api/v2/instance`; None on a server older than that."""
        self.instance_requests = 0
        self._by_key: dict[str, dict] = {}

    def route(self, router: web.UrlDispatcher) -> None:
        router.add_post("/api/v1/statuses", self._status)
        router.add_post("/api/v2/media", self._upload)
        router.add_get("/api/v1/media/{id}", self._look)
        router.add_get("/api/v2/instance", self._instance)

    async def _instance(self, request: web.Request) -> web.StreamResponse:
        self.instance_requests += 1
        if self.limits is None:
            return web.json_response({"error": "Not Found"}, status=404)
        return web.json_response({"domain": "social.example", "version": "4.5.0", "configuration": self.limits})

    async def _status(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return web.json_response({"error": "The access token is invalid"}, status=401)
        said = await request.json()
        return await self._meet(request, lambda: self._publish(said, request.headers.get("Idempotency-Key")))

    def _publish(self, said: dict, key: str | None) -> web.Response:
        if key in self._by_key:
            return web.json_response(self._by_key[key])
        left = self.window.left
        headers = self._limits(max(0, left - 1), self.window.reset_at) | {"X-RateLimit-Limit": str(self.window.limit)}
        if left <= 0:
            return web.json_response({"error": "Too many requests"}, status=429, headers=headers)
        limit = (self.limits or {}).get("statuses", {}).get("max_characters", 500)
        if len(said["status"]) > limit:
            error = f"Validation failed: Text character limit of {limit} exceeded"
            return web.json_response({"error": error}, status=422)
        media = [self.media.get(one) for one in said.get("media_ids", [])]
        if any(one is None or one["looks"] > 0 for one in media):
            error = "Cannot attach files that have not finished processing. Try again in a moment!"
            return web.json_response({"error": error}, status=422)
        number = str(next(self._numbers))
        status = {"id": number, "url": f"{self.url}/@bongsu/{number}", "uri": f"{self.url}/users/bongsu/{number}"}
        self.posts.append(status | {"text": said["status"], "media": media, "language": said["language"]})
        self.window.take()
        numbered = re.fullmatch(r"bongsu-(\d+)-mastodon-\w+", key or "")
        self._note(int(numbered[1]) if numbered else None, said["status"])
        if key is not None:
            self._by_key[key] = status
        return web.json_response(status, headers=headers)

    def limited(self, seconds: float) -> tuple[int, dict[str, str]]:
        return 429, self._limits(0, time.time() + seconds)

    @staticmethod
    def _limits(left: int, reset_at: float) -> dict[str, str]:
        reset = datetime.fromtimestamp(reset_at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {"X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": reset}

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return web.json_response({"error": "The access token is invalid"}, status=401)
        form = await request.post()
        number = str(next(self._numbers))
        self.media[number] = {
            "jpeg": form["file"].file.read(), "alt": form["description"], "looks": self.looks_until_ready,
        }  # fmt: skip
        url = None if self.looks_until_ready else f"{self.url}/media/{number}.jpg"
        return web.json_response({"id": number, "type": "image", "url": url}, status=200 if url else 202)

    async def _look(self, request: web.Request) -> web.StreamResponse:
        one = self.media[request.match_info["id"]]
        one["looks"] -= 1
        if self.is_broken_media:
            return web.json_response({"error": "Error processing thumbnail for uploaded media"}, status=422)
        await asyncio.sleep(self.look_s)
        return web.json_response({"id": request.match_info["id"]}, status=206 if one["looks"] > 0 else 200)

    def _is_known(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.token}"


class WebhookDouble(Double):
    """A receiver that checks signature and age by the library of Standard Webhooks, and knows an id again."""

    name = "webhook"

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self.secret = secret
        self.attempts: list[str] = []
        self._known: set[str] = set()

    def route(self, router: web.UrlDispatcher) -> None:
        router.add_post("/hook", self._take)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        key = request.headers["webhook-id"]
        try:
            standardwebhooks.Webhook(self.secret).verify(body, dict(request.headers))
        except standardwebhooks.WebhookVerificationError:
            return web.json_response({"error": "signature does not match"}, status=401)
        self.attempts.append(key)
        return await self._meet(request, lambda: self._publish(key, body))

    def _publish(self, key: str, body: bytes) -> web.Response:
        if key not in self._known:
            self._known.add(key)
            post = json.loads(body)
            self.posts.append(post)
            self._note(post["incident"]["id"], "\n".join(post["text"].values()))
        return web.Response(status=204)

    def limited(self, seconds: float) -> tuple[int, dict[str, str]]:
        return 429, {"Retry-After": str(math.ceil(seconds))}


def weigh(text: str) -> int:
    """A text's length by X's published table, written for the double alone."""
    return sum(1 if ord(c) in _LIGHT else 2 for c in unicodedata.normalize("NFC", text))


_LIGHT = {*range(0x0000, 0x1100), *range(0x2000, 0x200E), *range(0x2010, 0x2020), *range(0x2032, 0x2038)}


def _escape(text: str) -> str:
    return quote(text, safe="-._~")
