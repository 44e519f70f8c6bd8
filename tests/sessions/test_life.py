"""How sessions wait, end and survive their worker: idle time, line, quota, crashes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from tests.sessions.cluster import BACKENDS, Cluster, ask, running_cluster, text, url_of

ROW = [0.5, 0.5, 0.2, 0.3]


@pytest.fixture(scope="module", params=BACKENDS)
def small(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Room for two workers of kind scalar; sessions end soon."""
    with running_cluster(
        request.param, sessions_cores="0.101", sessions_warm="scalar=1", sessions_idle_s="4", sessions_line_s="6",
        sessions_wait_s="3", sessions_per_owner="6", sessions_per_client="2",
    ) as running:  # fmt: skip
        running.serve()
        running.await_idle("scalar")
        yield running


@pytest.fixture
def base(small: Cluster) -> Iterator[str]:
    yield f"http://127.0.0.1:{small.ports[0]}"
    end = time.monotonic() + 30
    while small.list_all()["sessions"] and time.monotonic() < end:
        time.sleep(0.2)


def test_a_silent_session_ends(small: Cluster, base: str) -> None:
    session = ask(base).json()
    began = time.monotonic()
    with connect(url_of(session)) as ws:
        ws.recv()
        with pytest.raises(ConnectionClosedError) as closed:
            ws.recv(timeout=15)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4408
    assert 3.5 < time.monotonic() - began < 10
    _await_gone(base, session)


def test_a_session_that_nobody_connects_to_ends(base: str) -> None:
    session = ask(base).json()
    _await_gone(base, session)


def test_a_session_ends_with_its_time(base: str) -> None:
    session = ask(base, ttl_s=2).json()
    with connect(url_of(session)) as ws, pytest.raises(ConnectionClosed):
        while True:
            ws.send(text({"n": 1, "row": ROW}))
            ws.recv(timeout=10)
            time.sleep(0.2)
    _await_gone(base, session)


def test_a_full_machine_keeps_a_line(base: str) -> None:
    first, second = (ask(base, client=f"line-{n}", ttl_s=20).json() for n in range(2))
    for held in (first, second):
        address = f"{base}/sessions/{held['id']}?wait_s=15"
        httpx.get(address, headers={"Session-Token": held["token"]}, timeout=20)
    waiting = ask(base, client="line-2", ttl_s=20)
    session = waiting.json()
    assert waiting.status_code == 202
    assert (session["state"], session["place"]) == ("waiting", 1)
    assert 0 < session["estimate_s"] <= 20
    assert int(waiting.headers["retry-after"]) > 0
    httpx.delete(f"{base}/sessions/{first['id']}", headers={"Session-Token": first["token"]})
    headers = {"Session-Token": session["token"]}
    came = httpx.get(f"{base}/sessions/{session['id']}?wait_s=20", headers=headers, timeout=30)
    assert came.json()["state"] == "ready"
    with connect(url_of(session)) as ws:
        assert msgspec.json.decode(ws.recv())["session"] == session["id"]
    for done in (second, session):
        httpx.delete(f"{base}/sessions/{done['id']}", headers={"Session-Token": done["token"]})


def test_who_does_not_ask_loses_the_place(base: str) -> None:
    kept = [ask(base, client=f"keeps-{n}", ttl_s=120).json() for n in range(2)]
    session = ask(base, client="forgets", ttl_s=120).json()
    _await_gone(base, session)
    for one in kept:
        httpx.delete(f"{base}/sessions/{one['id']}", headers={"Session-Token": one["token"]})


def test_a_client_gets_no_more_than_its_quota_even_at_once(base: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(base, client="greedy", ttl_s=20), range(8)))
    taken, refused = ([a for a in answers if (a.status_code == 429) == is_refused] for is_refused in (False, True))
    assert len(taken) == 2
    assert {a.json()["reason"] for a in refused} == {"quota"}
    assert {a.json()["detail"] for a in refused} == {"client 'greedy' has the 2 sessions that one client may have"}
    for session in (answer.json() for answer in taken):
        httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})


def test_a_crashed_worker_is_replaced(small: Cluster, base: str) -> None:
    session = ask(base, client="unlucky").json()
    headers = {"Session-Token": session["token"]}
    # Workers of the tests before may still be ending, and a new one starts.
    httpx.get(f"{base}/sessions/{session['id']}?wait_s=30", headers=headers, timeout=40)
    with connect(url_of(session)) as ws:
        resume = msgspec.json.decode(ws.recv())["resume"]
        for worker in small.workers():
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=5)
    end = time.monotonic() + 20
    while (
        httpx.get(f"{base}/sessions/{session['id']}?wait_s=5", headers=headers, timeout=20).json()["state"] != "ready"
    ):
        assert time.monotonic() < end
    # A cluster may not have noticed yet that the worker is gone.
    address = url_of(session, resume=resume).replace("ws://", "http://")
    while (refused := httpx.get(address, headers=_UPGRADE)).status_code == 503:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert (refused.status_code, refused.json()["reason"]) == (410, "resume_unknown")
    with connect(url_of(session)) as ws:
        ws.recv()
        ws.send(text({"n": 1, "row": ROW}))
        assert msgspec.json.decode(ws.recv())["type"] == "result"


def test_a_stopped_worker_hands_its_session_on(small: Cluster, base: str) -> None:
    session = ask(base, client="moves", ttl_s=60).json()
    httpx.get(f"{base}/sessions/{session['id']}?wait_s=30", headers=_token(session), timeout=40)
    with connect(url_of(session)) as ws:
        hello = msgspec.json.decode(ws.recv())
        for n in range(1, 4):
            ws.send(text({"n": n, "row": ROW}))
        results = [msgspec.json.decode(ws.recv()) for _ in range(3)]
        worker = _worker_of(small, session)
        small.drain(worker)
        moving = _await_moving(ws)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    assert (moving["type"], moving["resume"], moving["url"]) == ("moving", hello["resume"], session["url"])
    # The client takes the last answer for lost: the next worker has it, and computes nothing again.
    with connect(f"{moving['url']}?token={moving['token']}&resume={moving['resume']}&after=2") as ws:
        assert msgspec.json.decode(ws.recv())["resumed"] is True
        again = msgspec.json.decode(ws.recv(timeout=5))
        ws.send(text({"n": 4, "row": ROW}))
        assert msgspec.json.decode(ws.recv(timeout=5))["n"] == 4
    assert (again["n"], again["times"]["received_at"]) == (3, results[2]["times"]["received_at"])
    assert _worker_of(small, session) != worker
    httpx.delete(f"{base}/sessions/{session['id']}", headers=_token(session))


def test_a_client_that_says_nothing_holds_nobody_up(base: str) -> None:
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as silent:
        silent.sendall(b"GET /s/x HTTP/1.1\r\nUpgrade: websocket\r\n")
        assert httpx.get(f"{base}/healthz").is_success


_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def _token(session: dict[str, str]) -> dict[str, str]:
    return {"Session-Token": session["token"]}


def _await_moving(ws: ClientConnection) -> dict[str, str]:
    """Read until the session moves, without falling silent."""
    while True:
        # It may be closed by now, and `moving` is still to be read.
        with contextlib.suppress(ConnectionClosed):
            ws.send(text({"type": "ping", "n": 0}))
        message: dict[str, str] = msgspec.json.decode(ws.recv(timeout=20))
        if message["type"] == "moving":
            return message
        time.sleep(0.2)


def _worker_of(small: Cluster, session: dict[str, str]) -> str:
    return str(next(s["worker"] for s in small.list_all()["sessions"] if s["id"] == session["id"]))


def _await_gone(base: str, session: dict[str, str], within_s: float = 60.0) -> None:
    headers = {"Session-Token": session["token"]}
    end = time.monotonic() + within_s
    # By the list: to ask after a session would keep its place in line.
    while any(s["id"] == session["id"] for s in httpx.get(f"{base}/sessions", headers=headers).json()["sessions"]):
        assert time.monotonic() < end, "it has not ended"
        time.sleep(0.2)
