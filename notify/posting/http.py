"""Requests to a channel's server: what each answer means for a post, and when to send the next request."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec

from functions.backoff import backoff_s
from notify.channels import ChannelError, UnknownOutcomeError

# A channel has 15 s in total (notify/post.py); a picture may take most of it.
TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=4)
_BODY_MAX = 65_536
_REFUSED_AFTER_S = 300.0
_LONGEST_BACKOFF_S = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's response; `json` is empty if the body is not a JSON object, such as a proxy's HTML."""

    status: int
    headers: Mapping[str, str]
    json: Mapping[str, Any]

    @property
    def is_ok(self) -> bool:
        """Whether the request succeeded."""
        return 200 <= self.status < 300

    @property
    def error_text(self) -> str:
        """The status and the server's error message, shortened."""
        words = next((self.json[name] for name in ("detail", "message", "error", "title") if self.json.get(name)), "")
        return " ".join(f"{self.status} {words}".split())[:160]


class RateLimitWait:
    """Decides when a server may be asked again: by its rate limits, and a back-off that doubles while it fails.

    While it is blocked nothing is sent: events wait in their queue instead.
    """

    def __init__(self) -> None:
        self._blocked_until = 0.0
        self._reason = ""
        self._failures = 0

    def check(self) -> None:
        """Raise while the server is blocked.

        Raises:
            ChannelError: it is blocked; the message says for how long.
        """
        left_s = self._blocked_until - time.time()
        if left_s > 0:
            raise ChannelError(self._reason, after_s=left_s * random.uniform(1.0, 1.2))

    def judge(self, answer: Answer) -> None:
        """Process the answer to a post.

        Raises:
            ChannelError: it was refused.
            UnknownOutcomeError: the server failed, and it is unknown at which point.
        """
        limited_until = read_limit(answer)
        if limited_until is not None:
            self._block(limited_until, "rate limit is used up")
        if answer.is_ok:
            self._failures = 0
            return
        if answer.status == 429:
            if limited_until is None:
                self._block(time.time() + self._backoff(), "rate limit is used up")
            raise ChannelError(f"refused: {answer.error_text}", after_s=self._left(1.0))
        if answer.status >= 500:
            raise self.failed(f"server failed: {answer.error_text}", read_retry_after(answer.headers))
        # Credentials or permissions: an operator has to act, so retries may be slow.
        raise ChannelError(f"refused: {answer.error_text}", after_s=_REFUSED_AFTER_S)

    def failed(self, reason: str, until: float | None = None) -> UnknownOutcomeError:
        """Record a failure of the server or the network; returns the error to raise if the post may have gone out."""
        self._block(max(until or 0.0, time.time() + self._backoff()), reason)
        return UnknownOutcomeError(reason, after_s=self._left(1.0))

    def unreachable(self, reason: str) -> ChannelError:
        """Record that nothing could be sent; returns the error to raise."""
        failure = self.failed(reason)
        return ChannelError(reason, after_s=failure.after_s)

    def _backoff(self) -> float:
        self._failures += 1
        return backoff_s(self._failures - 1, first_s=5.0, longest_s=_LONGEST_BACKOFF_S, jitter=0)

    def _block(self, until: float, reason: str) -> None:
        self._blocked_until = max(self._blocked_until, until)
        self._reason = reason

    def _left(self, least_s: float) -> float:
        # Never before the server's own time, and with jitter, so that replicas do not all retry at once.
        return max(least_s, (self._blocked_until - time.time()) * random.uniform(1.0, 1.2))


async def ask(session: aiohttp.ClientSession, pace: RateLimitWait, method: str, url: str, **request: Any) -> Answer:
    """Send one request and read its answer, whatever its status.

    Raises:
        ChannelError: it was not sent.
        UnknownOutcomeError: it was sent, but the answer is incomplete.
    """
    try:
        # A redirect would send credentials or a signed body to another server.
        async with session.request(method, url, allow_redirects=False, **request) as response:
            return await read_answer(response)
    except Exception as error:
        raise explain(error, pace) from error


def explain(error: Exception, pace: RateLimitWait) -> Exception:
    """Translate an HTTP client's error to the outcome of the post; any other error is returned unchanged."""
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)):
        # Its text would contain the address.
        return pace.unreachable(f"cannot connect: {type(error).__name__}")
    if isinstance(error, (aiohttp.ClientError, TimeoutError, OSError)):
        return pace.failed(f"no answer: {type(error).__name__}")
    return error


async def read_answer(response: aiohttp.ClientResponse) -> Answer:
    """Read a response, with its body if that is a JSON object of a reasonable size."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _BODY_MAX:
            break
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:
        decoded = None
    return Answer(response.status, response.headers, decoded if isinstance(decoded, dict) else {})


def read_limit(answer: Answer) -> float | None:
    """Until when (Unix time) a rate limit forbids the next request; None if it does not.

    Understands `x-rate-limit-*` (X: Unix time; also its limit of 24 hours), `X-RateLimit-*` (Mastodon: ISO 8601),
    `RateLimit-*` (Bluesky: Unix time) and `Retry-After`.
    """
    headers = {name.lower(): value for name, value in answer.headers.items()}
    resets = []
    for prefix in ("x-rate-limit", "x-user-limit-24hour", "x-app-limit-24hour", "x-ratelimit", "ratelimit"):
        reset = _read_time(headers.get(f"{prefix}-reset", ""))
        if reset is not None and headers.get(f"{prefix}-remaining", "0" if answer.status == 429 else "") == "0":
            resets.append(reset)
    after = read_retry_after(headers)
    if after is not None and answer.status == 429:
        resets.append(after)
    return max(resets, default=None)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` as Unix time: seconds or a date."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    if text.isdecimal() and len(text) < 8:
        return time.time() + int(text)
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _read_time(text: str) -> float | None:
    if text.isdecimal() and len(text) < 12:
        return float(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
