from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from functions.settings import SettingsError
from motion.leases import Leases
from motion.settings import Settings, load
from motion.sharing import NeighboursUnavailable
from tests.motion.lease_server import LeaseServer

START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[LeaseServer]:
    server = LeaseServer()
    yield server
    server.close()


class Site:
    """Some nodes on one API server, and the time: each node's calendar is wrong in its own way, as on real ones."""

    def __init__(self, server: LeaseServer, folder: Path) -> None:
        self.server = server
        self.now_s = 0.0
        self._account = server.account(folder / "account")

    def node(self, name: str, region: str = "", wrong_s: float = 0.0) -> Leases:
        settings = Settings(node=name, region=region, lease_url=self.server.url, lease_account=self._account)
        return Leases(settings, lambda: self.now_s, lambda: START + timedelta(seconds=self.now_s + wrong_s))

    async def pass_s(self, seconds: float, *awake: Leases) -> None:
        """Let time pass, in which those who are awake look once a beat."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 5.0
            for leases in awake:
                await leases.look()


@pytest.fixture
def site(server: LeaseServer, tmp_path: Path) -> Site:
    return Site(server, tmp_path)


async def live(leases: Leases) -> dict[str, bool]:
    """Who is alive, and whether each has settled."""
    return {node.name: node.is_settled for node in await leases.look()}


async def test_nodes_find_each_other_and_say_where_they_stand(site: Site) -> None:
    one, two = site.node("edge-1", "서울"), site.node("edge-2", "Incheon", wrong_s=86_400)
    await one.look()
    assert [(n.name, n.region) for n in await two.look()] == [("edge-2", "Incheon"), ("edge-1", "서울")]


async def test_node_counts_as_away_after_25_to_36_s(site: Site) -> None:
    one, two = site.node("edge-1", wrong_s=-3600), site.node("edge-2", wrong_s=3600)
    await site.pass_s(60, one, two)
    last_s = site.now_s
    while "edge-1" in await live(two):
        assert site.now_s - last_s < 36
        site.now_s += 1
    assert site.now_s - last_s >= 25


async def test_returned_node_settles_after_one_lease(site: Site) -> None:
    one, two = site.node("edge-1"), site.node("edge-2", wrong_s=50)
    await site.pass_s(60, one, two)
    assert await live(two) == {"edge-2": True, "edge-1": True}
    await site.pass_s(120, two)
    again = site.node("edge-1")
    await again.look()
    assert await live(two) == {"edge-2": True, "edge-1": False}
    await site.pass_s(20, again, two)
    assert (await live(two))["edge-1"] is False
    await site.pass_s(10, again, two)
    assert (await live(two))["edge-1"] is True


async def test_a_process_that_is_replaced_at_once_has_settled_already(site: Site) -> None:
    one = site.node("edge-1")
    await site.pass_s(60, one)
    site.now_s += 10
    assert await live(site.node("edge-1")) == {"edge-1": True}


async def test_while_nobody_answers_nobody_is_away_for_it(site: Site) -> None:
    one, two = site.node("edge-1"), site.node("edge-2")
    await site.pass_s(60, one, two)
    site.server.is_away = True
    for _ in range(30):
        site.now_s += 5
        with pytest.raises(NeighboursUnavailable, match="no answer from the API server"):
            await two.look()
    site.server.is_away = False
    assert "edge-1" in await live(two)
    await one.look()
    await site.pass_s(60, one, two)
    assert await live(two) == {"edge-2": True, "edge-1": True}


async def test_lease_changed_by_another_is_renewed(site: Site) -> None:
    one, rival = site.node("edge-1"), site.node("edge-1")
    await one.look()
    await asyncio.gather(*(each.look() for each in (one, rival) * 5))
    assert {status for _, status in site.server.asked} <= {200, 201, 409}
    assert await live(one) == {"edge-1": False}
    assert site.server.asked[-1] == ("PUT", 200)


@pytest.mark.parametrize("verb", ["list", "create", "update"])
async def test_a_missing_right_is_named_with_its_fix(site: Site, verb: str) -> None:
    site.server.verbs.discard(verb)
    one = site.node("edge-1")
    with pytest.raises(NeighboursUnavailable, match="403: the ServiceAccount may not: apply the Role"):
        await one.look()
        await one.look()


async def test_a_token_that_is_renewed_is_read_anew(site: Site, tmp_path: Path) -> None:
    one = site.node("edge-1")
    token = tmp_path / "account/token"
    fresh = token.read_text()
    token.write_text("an old one")
    with pytest.raises(NeighboursUnavailable, match="401: the token is not known"):
        await one.look()
    token.write_text(fresh)
    assert await live(one) == {"edge-1": False}


def test_an_account_that_is_not_mounted_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"BONGSU_LEASE_ACCOUNT: .*/namespace: No such file or directory: mount"):
        Leases(Settings(node="edge-1", lease_url="https://192.0.2.1", lease_account=tmp_path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"BONGSU_LEASE_S": "soon"}, "BONGSU_LEASE_S: got 'soon'"),
        ({"BONGSU_LEASE_S": "60"}, "must be from 2 to 50 seconds, got 60"),
        ({"BONGSU_LEASE_URL": "https://k"}, "BONGSU_NODE is empty"),
        ({"BONGSU_LEASE_URL": "k:443", "BONGSU_NODE": "a"}, "must start with https://, got 'k:443'"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(
    given: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load()


def test_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NODE": "edge-1", "REGION": "서울", "LEASE_URL": "https://k", "LEASE_ACCOUNT": "/a"}.items():
        monkeypatch.setenv(f"BONGSU_{name}", value)
    assert load() == Settings("edge-1", "서울", "https://k", Path("/a"))
