"""Through any chain or circle of receive servers, a client ends with one session or a place in one line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send

from sessions.allocator import Allocator
from sessions.keeper import Keeper
from sessions.offload import Upstreams
from sessions.records import Session
from sessions.server import create_app
from sessions.settings import Settings
from sessions.site import SessionSite
from sessions.tokens import Tokens
from tests.sessions.records import Records, RecordsBackend
from web.keys import Keyring
from web.limits import Buckets, Proxies

NAMES = "abcd"
CHAINS = st.fixed_dictionaries({name: st.lists(st.sampled_from(NAMES), max_size=3, unique=True) for name in NAMES})
"""The upstream servers of each, in order; a server may be its own."""


class _Counted:
    """An application, and through how many servers each request for a session had come that it got."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.passed: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (scope["method"], scope["path"]) == ("POST", "/sessions"):
            via = dict(scope["headers"]).get(b"bongsu-via", b"").decode()
            self.passed.append(len(via.split(",")) if via else 0)
        await self._app(scope, receive, send)


class _Net:
    """Four receive servers in this process, that reach each other as over a network."""

    def __init__(self, upstream: dict[str, list[str]], rooms: dict[str, int], hops: int) -> None:
        self.records = {name: Records(0, rooms[name]) for name in NAMES}
        self.sites = {name: self._site(name, upstream[name], hops) for name in NAMES}
        self.apps = {name: _Counted(create_app(site)) for name, site in self.sites.items()}
        self._mounts = {f"http://{name}": httpx.ASGITransport(app) for name, app in self.apps.items()}
        for site in self.sites.values():
            site.upstreams._client = self.client()
        self.outside = self.client()

    def _site(self, name: str, upstream: list[str], hops: int) -> SessionSite:
        config = Settings(sessions_ask="open", sessions_name=name, sessions_wait_s=0.01, rate_limit=0.0)
        allocator = Allocator(RecordsBackend(self.records[name], lags=False), config, Tokens(name.encode() * 32))
        upstreams = Upstreams([f"http://{other}" for other in upstream], name, hops)
        return SessionSite(
            config, allocator, Keeper(allocator, config, upstreams), upstreams, Keyring.open(""), Buckets(0.0),
            Buckets(0.0), Proxies([]),
        )  # fmt: skip

    async def ask(self, name: str, client: str) -> httpx.Response:
        headers, body = {"Idempotency-Key": client}, {"kind": "scalar", "client": client}
        return await self.outside.post(f"http://{name}/sessions", json=body, headers=headers)

    def sessions_of(self, client: str) -> list[tuple[str, Session]]:
        """The client's sessions, with the server that serves each or has it wait; without pointers to others."""
        known = ((name, s) for name, records in self.records.items() for s in records.sessions.values())
        return [(name, s) for name, s in known if s.client == client and not s.upstream]

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(mounts=self._mounts, timeout=30, verify=False)

    @contextlib.asynccontextmanager
    async def dispatching(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(site.allocator.dispatch()) for site in self.sites.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for site in self.sites.values():
                await site.upstreams.aclose()
            await self.outside.aclose()


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    upstream=CHAINS,
    rooms=st.fixed_dictionaries({name: st.integers(0, 1) for name in NAMES}),
    hops=st.integers(1, 3),
    asked=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
)
def test_a_client_ends_with_one_session_or_waits(
    upstream: dict[str, list[str]], rooms: dict[str, int], hops: int, asked: list[str]
) -> None:
    asyncio.run(_ask_all(_Net(upstream, rooms, hops), hops, asked))


async def _ask_all(net: _Net, hops: int, asked: list[str]) -> None:
    async with net.dispatching():
        for n, name in enumerate(asked):
            client = f"c{n}"
            # Asked again, it gets the same.
            answers = [await net.ask(name, client) for _ in range(2)]
            assert {answer.status_code for answer in answers} <= {201, 202}, answers[0].text
            assert answers[0].json()["id"] == answers[1].json()["id"]
            assert all(passed <= hops for app in net.apps.values() for passed in app.passed)
            # Of all servers one has the session, with a worker if it is ready; the others have pointers or nothing.
            ((where, session),) = net.sessions_of(client)
            assert session.worker or answers[0].status_code == 202
            assert session.worker or where == name, "it waits where it did not ask"
