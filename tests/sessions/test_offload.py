"""What does not fit goes to an upstream receive server, or waits; never in a circle."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

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


def test_a_session_comes_home_without_losing_a_request(centre: Cluster, edge: Cluster) -> None:
    base = f"http://127.0.0.1:{edge.ports[0]}"
    here, away = ask(base, client="here").json(), ask(base, client="away", migrate=True).json()
    assert away["where"] == "data-centre"
    answered: list[int] = []
    with connect(url_of(away)) as ws:
        assert msgspec.json.decode(ws.recv())["type"] == "hello"
        _send_row(ws, 1)
        assert httpx.delete(f"{base}/sessions/{here['id']}", headers=_token(here)).status_code == 204
        sent = 1
        while (message := msgspec.json.decode(ws.recv(timeout=20)))["type"] == "result":
            answered.append(message["n"])
            sent += 1
            # It may be closed by now, and `moving` is still to be read.
            with contextlib.suppress(ConnectionClosed):
                _send_row(ws, sent)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    assert message["type"] == "moving" and f":{edge.ports[0]}/s/{away['id']}" in message["url"]
    with connect(message["url"], additional_headers={"Authorization": f"Bearer {message['token']}"}) as ws:
        assert msgspec.json.decode(ws.recv())["type"] == "hello"
        for n in range(len(answered) + 1, sent + 3):
            _send_row(ws, n)
            answered.append(msgspec.json.decode(ws.recv(timeout=20))["n"])
    assert answered == list(range(1, sent + 3))
    # Both tokens are its client's, and the upstream server forgets it.
    for token in (away["token"], message["token"]):
        found = httpx.get(f"{base}/sessions/{away['id']}", headers={"Session-Token": token}).json()
        assert (found["where"], found["state"]) == ("edge", "ready")
    end = time.monotonic() + 20
    while centre.list_all()["sessions"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    httpx.delete(f"{base}/sessions/{away['id']}", headers=_token(away))


def test_a_move_without_a_client_is_refused(edge: Cluster) -> None:
    base = f"http://127.0.0.1:{edge.ports[0]}"
    session = ask(base, client="absent").json()
    url = f"{base}/sessions/{session['id']}/move"
    to = {"url": "ws://127.0.0.1:1/s/x", "token": "t"}
    refused = httpx.post(url, json=to, headers=_token(session))
    assert (refused.status_code, refused.json()["reason"]) == (409, "not_connected")
    bad = httpx.post(url, json={"url": "file:///etc", "token": "t"}, headers=_token(session))
    assert bad.status_code == 422 and "must start with ws://" in bad.json()["detail"]
    assert httpx.post(url, json=to).status_code == 404
    httpx.delete(f"{base}/sessions/{session['id']}", headers=_token(session))


def _send_row(ws: ClientConnection, n: int) -> None:
    ws.send(msgspec.json.encode({"n": n, "row": [0.5, 0.5, 0.2, 0.3]}).decode())


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
