"""Sessions move between receive servers, results included: a machine that stops, a session that comes home."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.sessions.cluster import BACKENDS, Cluster, KubernetesCluster, ask, running_cluster, text, url_of

ROW = [0.5, 0.5, 0.2, 0.3]


@pytest.fixture(scope="module")
def centre() -> Iterator[Cluster]:
    with running_cluster(
        sessions_name="centre", sessions_where="data-centre", sessions_warm="scalar=2", sessions_wait_s="5",
        sessions_per_client="9",
    ) as running:  # fmt: skip
        running.serve()
        running.await_idle("scalar", 2)
        yield running


@pytest.fixture(scope="module", params=BACKENDS)
def edge(centre: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    url = f"http://127.0.0.1:{centre.ports[0]}"
    with running_cluster(
        request.param, sessions_name="edge", sessions_upstream=url, sessions_cores="0.101", sessions_wait_s="3",
        sessions_warm="scalar=2", sessions_per_client="9",
    ) as running:  # fmt: skip
        running.serve()
        running.await_idle("scalar", 2)
        yield running


def test_a_stopped_machine_moves_all_its_sessions(centre: Cluster, edge: Cluster) -> None:
    base = f"http://127.0.0.1:{edge.ports[0]}"
    sessions = [ask(base, client="car").json() for _ in range(2)]
    assert [session["where"] for session in sessions] == ["edge", "edge"]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(connect(url_of(session))) for session in sessions]
        hellos = [_read(ws) for ws in sockets]
        for ws in sockets:
            for n in range(1, 4):
                ws.send(text({"n": n, "row": ROW}))
        # They are answered, and their clients read none of it.
        _await_answered(edge, [session["id"] for session in sessions], 3)
        edge.drain_all()
        moves = [_read_moving(ws) for ws in sockets]
    for session, hello, (results, moving) in zip(sessions, hellos, moves, strict=True):
        assert [result["n"] for result in results] == [1, 2, 3]
        assert moving["resume"] == hello["resume"]
        assert f":{centre.ports[0]}/s/" in moving["url"]
        # The client takes the last two answers for lost: the data centre has them, and computes nothing again.
        with connect(f"{moving['url']}?token={moving['token']}&resume={moving['resume']}&after=1") as ws:
            assert _read(ws)["resumed"] is True
            again = [_read(ws) for _ in range(2)]
            ws.send(text({"n": 4, "row": ROW}))
            assert _read(ws)["n"] == 4
        assert [a["times"]["received_at"] for a in again] == [r["times"]["received_at"] for r in results[1:]]
        # Who missed `moving` asks with its old token, as long as a receive server lives here.
        found = httpx.get(f"{base}/sessions/{session['id']}", headers=_token(session)).json()
        assert (found["where"], found["url"]) == ("data-centre", moving["url"])
        assert found["token"] == moving["token"]
        with pytest.raises(InvalidStatus) as refused, connect(url_of(session)):
            pass
        assert refused.value.response.status_code == 421
        assert httpx.delete(f"{base}/sessions/{session['id']}", headers=_token(session)).status_code == 204
    assert centre.list_all()["sessions"] == []
    edge.undrain_all()


def test_unread_results_come_home_with_their_session(centre: Cluster, edge: Cluster) -> None:
    base = f"http://127.0.0.1:{edge.ports[0]}"
    edge.await_idle("scalar", 2)
    here = [ask(base, client=f"here-{n}").json() for n in range(2)]
    away = ask(base, client="away", migrate=True).json()
    assert away["where"] == "data-centre", away
    with connect(url_of(away)) as ws:
        resume = _read(ws)["resume"]
        for n in range(1, 6):
            ws.send(text({"n": n, "row": ROW}))
        _await_answered(centre, [centre.list_all()["sessions"][0]["id"]], 5)
        httpx.delete(f"{base}/sessions/{here[0]['id']}", headers=_token(here[0]))
        # It reads its answers late; what the broken connection takes with it is at the next worker.
        results, moving = _read_moving(ws)
    assert (moving["resume"], moving["url"]) == (resume, f"ws://127.0.0.1:{edge.ports[0]}/s/{away['id']}")
    with connect(f"{moving['url']}?token={moving['token']}&resume={resume}&after=2") as ws:
        assert _read(ws)["resumed"] is True
        again = [_read(ws) for _ in range(3)]
    # None of them is computed again.
    facts = [[(r["n"], r["times"]["received_at"]) for r in part] for part in (results, again)]
    assert facts[1] == facts[0][2:]
    for session in (away, here[1]):
        httpx.delete(f"{base}/sessions/{session['id']}", headers=_token(session))


def test_a_terminated_agent_moves_its_sessions_first(centre: Cluster, edge: Cluster) -> None:
    if isinstance(edge, KubernetesCluster):
        pytest.skip("a cluster has no agent: its nodes are drained")
    edge.await_idle("scalar")
    session = ask(f"http://127.0.0.1:{edge.ports[0]}", client="last").json()
    with connect(url_of(session)) as ws, ThreadPoolExecutor(1) as thread:
        resume = _read(ws)["resume"]
        ending = thread.submit(edge.agent.end)
        ws.send(text({"n": 1, "row": ROW}))
        results, moving = _read_moving(ws)
        assert [result["n"] for result in results] == [1]
        ending.result()
    with connect(f"{moving['url']}?token={moving['token']}&resume={resume}&after=0") as ws:
        assert _read(ws)["resumed"] is True
        assert _read(ws)["times"]["received_at"] == results[0]["times"]["received_at"]
    (there,) = centre.list_all()["sessions"]
    url = f"http://127.0.0.1:{centre.ports[0]}/sessions/{there['id']}"
    assert httpx.delete(url, headers={"Session-Token": moving["token"]}).status_code == 204
    edge.agent.start()


def test_results_are_given_by_the_sessions_holder_alone(edge: Cluster) -> None:
    base = f"http://127.0.0.1:{edge.ports[0]}"
    edge.await_idle("scalar")
    session = ask(base, client="holder").json()
    url, kept = f"{base}/sessions/{session['id']}", b'{"resume": "r", "results": []}'
    assert httpx.put(f"{url}/results", content=kept).status_code == 404
    absent = httpx.post(f"{url}/hand-over", headers=_token(session))
    assert (absent.status_code, absent.json()["reason"]) == (409, "not_connected")
    broken = httpx.put(f"{url}/results", content=b"{", headers=_token(session))
    assert (broken.status_code, broken.json()["reason"]) == (409, "not_taken")
    assert httpx.put(f"{url}/results", content=kept, headers=_token(session)).status_code == 204
    with connect(url_of(session, resume="r")) as ws:
        assert _read(ws)["resumed"] is True
        late = httpx.put(f"{url}/results", content=kept, headers=_token(session))
        assert late.status_code == 409
    large = httpx.put(f"{url}/results", content=b"x" * 8_000_001, headers=_token(session))
    assert (large.status_code, large.json()["reason"]) == (413, "too_large")
    httpx.delete(url, headers=_token(session))


def _read(ws: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = msgspec.json.decode(ws.recv(timeout=20))
    return message


def _read_moving(ws: ClientConnection) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The results until a session moves, and the message that says where."""
    results = []
    while (message := _read(ws))["type"] != "moving":
        results.append(message)
    with pytest.raises(ConnectionClosed) as closed:
        ws.recv(timeout=5)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    return results, message


def _await_answered(cluster: Cluster, ids: list[str], count: int) -> None:
    end = time.monotonic() + 30
    while True:
        found = {s["id"]: s.get("answered", 0) for s in cluster.list_all()["sessions"]}
        if all(found[id_] >= count for id_ in ids):
            return
        assert time.monotonic() < end, found
        time.sleep(0.2)


def _token(session: dict[str, Any]) -> dict[str, str]:
    return {"Session-Token": session["token"]}
