"""What does not fit goes to an upstream receive server, or waits; never in a circle."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from websockets.sync.client import connect

from sessions.offload import Upstreams, read_via
from tests.sessions.cluster import Cluster, ask, free_port, running_cluster, url_of

ONE = {"sessions_cores": "0.051", "sessions_wait_s": "2"}


@pytest.fixture(scope="module")
def centre() -> Iterator[Cluster]:
    with running_cluster(sessions_name="centre", sessions_where="data-centre", **ONE) as running:
        running.serve()
        running.await_idle("scalar")
        yield running


@pytest.fixture(scope="module")
def edge(centre: Cluster) -> Iterator[Cluster]:
    dead, url = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{centre.ports[0]}"
    with running_cluster(sessions_name="edge", sessions_upstream=f"{dead},{url}", **ONE) as running:
        running.serve()
        running.await_idle("scalar")
        yield running


def test_full_edge_offloads_then_queues(centre: Cluster, edge: Cluster) -> None:
    base = f"http://127.0.0.1:{edge.ports[0]}"
    here = ask(base, client="a").json()
    assert here["where"] == "edge"
    key = {"Idempotency-Key": "b"}
    away = ask(base, client="b", headers=key)
    assert away.status_code == 201, away.text
    session = away.json()
    assert session["where"] == "data-centre"
    assert f":{centre.ports[0]}/" in session["url"]
    with connect(url_of(session)) as ws:
        assert msgspec.json.decode(ws.recv())["session"] == centre.list_all()["sessions"][0]["id"]
    headers = {"Session-Token": session["token"]}
    assert httpx.get(f"{base}/sessions/{session['id']}", headers=headers).json()["where"] == "data-centre"
    # Asked again, the same session: no second one is opened anywhere.
    assert ask(base, client="b", headers=key).json()["id"] == session["id"]
    assert len(centre.list_all()["sessions"]) == 1
    waiting = ask(base, client="c")
    assert waiting.status_code == 202
    assert waiting.json()["place"] == 1
    # What the edge asked the centre for in vain is not left there.
    assert len(centre.list_all()["sessions"]) == 1
    assert edge.list_all()["upstreams"][f"http://127.0.0.1:{centre.ports[0]}"] is True
    # What is ended here ends there.
    assert httpx.delete(f"{base}/sessions/{session['id']}", headers=headers).status_code == 204
    assert centre.list_all()["sessions"] == []
    for one in (here, waiting.json()):
        httpx.delete(f"{base}/sessions/{one['id']}", headers={"Session-Token": one["token"]})


def test_a_session_that_ended_upstream_is_forgotten_here(centre: Cluster, edge: Cluster) -> None:
    base = f"http://127.0.0.1:{edge.ports[0]}"
    here, away = ask(base, client="here").json(), ask(base, client="away").json()
    assert away["where"] == "data-centre"
    (there,) = centre.list_all()["sessions"]
    url = f"http://127.0.0.1:{centre.ports[0]}/sessions/{there['id']}"
    extended = httpx.patch(f"{base}/sessions/{away['id']}", json={"ttl_s": 900}, headers=_token(away))
    assert extended.json()["expires_at"] > away["expires_at"]
    assert httpx.get(url, headers=_token(away)).json()["expires_at"] > there["expires_at"]
    assert httpx.delete(url, headers=_token(away)).status_code == 204
    end = time.monotonic() + 20
    while httpx.get(f"{base}/sessions/{away['id']}", headers=_token(away)).status_code != 404:
        assert time.monotonic() < end
        time.sleep(0.2)
    httpx.delete(f"{base}/sessions/{here['id']}", headers=_token(here))


def _token(session: dict[str, str]) -> dict[str, str]:
    return {"Session-Token": session["token"]}


def test_a_request_that_came_here_before_is_refused(edge: Cluster) -> None:
    base = f"http://127.0.0.1:{edge.ports[0]}"
    answer = ask(base, client="loop", headers={"Bongsu-Via": "north,edge"})
    assert (answer.status_code, answer.json()["reason"]) == (508, "loop")
    bad = ask(base, client="loop", headers={"Bongsu-Via": "<script>"})
    assert (bad.status_code, bad.json()["reason"]) == (400, "via")


async def test_a_request_goes_only_so_far() -> None:
    upstreams = Upstreams(["http://127.0.0.1:1"], "edge", hops=2)
    assert upstreams.may_pass([])
    assert upstreams.may_pass(["a"])
    assert not upstreams.may_pass(["a", "b"])
    assert not Upstreams([], "edge", hops=2).may_pass([])
    await upstreams.aclose()


def test_via_names_are_read() -> None:
    assert read_via("") == []
    assert read_via("a, b-1") == ["a", "b-1"]
    with pytest.raises(ValueError, match="names of receive servers"):
        read_via("a b")
