"""Passes sessions that do not fit on to upstream receive servers: same API, in order, healthy ones only, no loops."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from functions.settings import split
from sessions.metrics import offloaded_total
from sessions.problems import ProblemError
from sessions.records import Session

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger()

VIA = "Bongsu-Via"
"""Header with the names of the receive servers that a request passed through, in order, separated by commas."""
_HEALTH_PERIOD_S = 5.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Taken:
    """A session that an upstream server has taken.

    Attributes:
        upstream: address of that server.
        id, url, token: the session's id there, and the address and token of its WebSocket.
    """

    upstream: str
    id: str
    url: str
    token: str


class _UnreachedError(Exception):
    """An upstream server has not answered."""


class Upstreams:
    """The receive servers behind this one."""

    def __init__(self, urls: Sequence[str], name: str, hops: int, key: str = "") -> None:
        """Start with all of them considered healthy.

        Args:
            urls: their addresses, in order of preference.
            name: this server's name.
            hops: the maximum number of servers that a request may pass through.
            key: the key for them; empty if they are open.
        """
        self._urls = [url.rstrip("/") for url in urls]
        self._name = name
        self._hops = hops
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.healthy = dict.fromkeys(self._urls, True)

    async def aclose(self) -> None:
        """Close their connections."""
        if "_client" in self.__dict__:
            await self._client.aclose()

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # Imported here, because a server without upstream servers starts sooner without it.
        import httpx

        return httpx.AsyncClient(headers=self._headers, timeout=httpx.Timeout(30.0, connect=3.0))

    async def watch(self) -> None:
        """Check the health of each repeatedly."""
        while self._urls:
            await asyncio.gather(*(self._check(url) for url in self._urls))
            await asyncio.sleep(_HEALTH_PERIOD_S)

    def may_pass(self, via: Sequence[str]) -> bool:
        """Whether a request with this path may be passed on."""
        return bool(self._urls) and len(via) < self._hops

    async def offer(self, body: dict[str, Any], idempotency_key: str, via: Sequence[str]) -> Taken | None:
        """Offer a session to them in order; None if none takes it.

        Args:
            body: the unchanged body of the request.
            idempotency_key: from the session's id here, so that each takes it once.
            via: names of the servers that it passed through before this one.
        """
        headers = {VIA: ",".join([*via, self._name]), "Idempotency-Key": idempotency_key}
        for url in self._urls:
            if not self.healthy[url]:
                continue
            try:
                response = await self._send("POST", f"{url}/sessions", json=body, headers=headers)
            except _UnreachedError as error:
                self._note(url, str(error))
                continue
            answer = _read_answer(response)
            # 202: it would have to wait there too, so it waits here, nearer to the client.
            if answer is not None and response.status_code == 201:
                offloaded_total.labels("taken").inc()
                return Taken(url, **answer)
            offloaded_total.labels("refused").inc()
            if answer is not None and response.status_code == 202:
                await self.end(url, answer["id"], answer["token"])
        return None

    async def is_there(self, url: str, session_id: str, token: str) -> bool:
        """Whether an upstream server still has a session; one that does not answer is assumed to have it."""
        try:
            response = await self._send("GET", f"{url}/sessions/{session_id}", headers={"Session-Token": token})
        except _UnreachedError:
            return True
        return response.status_code != 404

    async def extend(self, url: str, session_id: str, token: str, ttl_s: float) -> None:
        """Extend a session there."""
        headers = {"Session-Token": token}
        try:
            await self._send("PATCH", f"{url}/sessions/{session_id}", json={"ttl_s": ttl_s}, headers=headers)
        except _UnreachedError as error:
            raise _lost() from error

    async def take_results(self, session: Session) -> bytes | None:
        """Take over the results of a session that was passed on and comes home, as JSON; None: without them.

        Its worker there accepts nothing more, until it is moved or some seconds have passed.

        Raises:
            ProblemError: not now: its client is not connected, or the server does not answer.
        """
        response = await self._post(session, "POST", "hand-over")
        if response.status_code == 409:
            raise _not_connected()
        # 404, 405: it is over there, or that server is older than this path.
        return response.content if response.is_success else None

    async def give_results(self, session: Session, kept: bytes) -> bool:
        """Give results of a session to its worker on the upstream server; returns whether that has taken them.

        Raises:
            ProblemError: the server does not answer.
        """
        options = {"content": kept, "headers": {"Content-Type": "application/json"}}
        return (await self._post(session, "PUT", "results", **options)).is_success

    async def move(self, session: Session, url: str, token: str, *, has_results: bool = False) -> bool:
        """Have the client of a session that was passed on connect elsewhere; whether that session is over there.

        Raises:
            ProblemError: not now: its client is not connected, or the server does not answer.
        """
        # An older server does not know the third field, but has not given results either.
        goal = {"url": url, "token": token} | ({"has_results": True} if has_results else {})
        response = await self._post(session, "POST", "move", json=goal)
        if response.status_code not in (204, 404):
            raise _not_connected()
        return response.status_code == 404

    async def end(self, url: str, session_id: str, token: str) -> None:
        """End a session there; if the server cannot be reached, the session ends by its idle time."""
        try:
            await self._send("DELETE", f"{url}/sessions/{session_id}", headers={"Session-Token": token})
        except _UnreachedError as error:
            log.warning("upstream_session_not_ended", upstream=url, reason=str(error))

    async def _post(self, session: Session, method: str, what: str, **options: Any) -> httpx.Response:
        """Send a request about a session that was passed on.

        Raises:
            ProblemError: the server does not answer.
        """
        headers = {**options.pop("headers", {}), "Session-Token": session.upstream_token}
        url = f"{session.upstream}/sessions/{session.upstream_id}/{what}"
        try:
            return await self._send(method, url, headers=headers, **options)
        except _UnreachedError as error:
            raise _lost() from error

    async def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send a request.

        Raises:
            _UnreachedError: no answer came.
        """
        import httpx

        try:
            return await self._client.request(method, url, **options)
        except httpx.HTTPError as error:
            raise _UnreachedError(f"{type(error).__name__}: {error}") from error

    async def _check(self, url: str) -> None:
        try:
            response = await self._send("GET", f"{url}/healthz", timeout=3.0)
            self._note(url, "" if response.is_success else f"status {response.status_code}")
        except _UnreachedError as error:
            self._note(url, str(error))

    def _note(self, url: str, fault: str) -> None:
        if self.healthy[url] == bool(fault):
            log.warning("upstream_lost", upstream=url, reason=fault) if fault else log.info(
                "upstream_back", upstream=url
            )
        self.healthy[url] = not fault


def _read_answer(response: httpx.Response) -> dict[str, str] | None:
    """Id, url and token in an answer to `POST /sessions`; None if there are none."""
    try:
        answer = response.json()
        return {name: str(answer[name]) for name in ("id", "url", "token")}
    except (ValueError, KeyError, TypeError):
        return None


def _lost() -> ProblemError:
    return ProblemError(
        502, "upstream_lost", "the upstream server of this session does not answer", "try again in a few seconds"
    )


def _not_connected() -> ProblemError:
    return ProblemError(409, "not_connected", "the client is not connected there", "try again later")


def read_via(text: str) -> list[str]:
    """The names in a `Bongsu-Via` header.

    Raises:
        ValueError: it is invalid.
    """
    names = split(text)
    if len(names) > 32 or not all(_NAME.fullmatch(name) for name in names):
        raise ValueError(f"{VIA} must hold names of receive servers, got {text[:80]!r}")
    return names
