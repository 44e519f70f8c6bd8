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
            before = _served(net)
            body = {"kind": "scalar", "client": f"c{n}"}
            answer = await net.outside.post(f"http://{name}/sessions", json=body, headers={"Idempotency-Key": f"k{n}"})
            assert answer.status_code in (201, 202), answer.text
            assert all(passed <= hops for app in net.apps.values() for passed in app.passed)
            is_ready = answer.status_code == 201
            assert _served(net) == before + is_ready
            # One who waits does so here alone; nothing is left where it was offered in vain.
            assert sum(len(_own(net, other, f"c{n}")) for other in NAMES) == 1
            if not is_ready:
                assert len(_own(net, name, f"c{n}")) == 1
            # Asked again, the same.
            again = await net.outside.post(f"http://{name}/sessions", json=body, headers={"Idempotency-Key": f"k{n}"})
            assert again.json()["id"] == answer.json()["id"]
            assert _served(net) == before + is_ready


def _served(net: _Net) -> int:
    """How many sessions have a worker, on all servers."""
    return sum(1 for records in net.records.values() for session in records.sessions.values() if session.worker)


def _own(net: _Net, name: str, client: str) -> list[str]:
    """The client's sessions that are a server's own, and no pointers to another."""
    sessions = net.records[name].sessions.values()
    return [session.id for session in sessions if session.client == client and not session.upstream]
