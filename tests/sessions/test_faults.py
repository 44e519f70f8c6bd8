"""An API server that refuses, is slow or loses answers, while one of two receive servers is killed."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest
from websockets.sync.client import connect

from tests.sessions.cluster import KubernetesCluster, ask, running_cluster, text, url_of

_CLIENTS = 4
FAULTS = [
    {"verbs": ["watch"], "share": 0.5, "watch_s": 0.3},
    {"verbs": ["watch"], "share": 0.2, "code": 410},
    {"verbs": ["watch", "list"], "share": 0.2, "code": 500},
    # Only the answer is lost.
    {"verbs": ["create", "update", "patch", "delete"], "share": 0.2, "code": 500, "is_done": True},
    {"verbs": ["create", "update", "patch", "delete"], "share": 0.2, "code": 409},
    {"verbs": ["create", "update", "patch", "delete"], "share": 0.1, "code": 429},
    {"share": 0.3, "delay_s": 0.2},
]


@pytest.fixture(scope="module")
def kube() -> Iterator[KubernetesCluster]:
    with running_cluster(
        "kubernetes", sessions_warm="scalar=3", sessions_per_owner="100", rate_limit="0", sessions_wait_s="3",
        sessions_cores="0.5",
    ) as running:  # fmt: skip
        assert isinstance(running, KubernetesCluster)
        for _ in range(2):
            running.serve()
        running.await_idle("scalar", 3)
        yield running


def test_no_fault_gives_a_client_two_workers_or_none(kube: KubernetesCluster) -> None:
    _set_faults(kube, FAULTS)
    bases = [f"http://127.0.0.1:{port}" for port in kube.ports]
    with ThreadPoolExecutor(2 * _CLIENTS) as threads:
        # Each asks both servers at once, under one key, and one of the servers is killed meanwhile.
        asked = [threads.submit(_insist, base, n) for n in range(_CLIENTS) for base in bases]
        time.sleep(1)
        kube.servers[1].end(signal.SIGKILL)
        kube.servers[1].start()
        answers = [one.result() for one in asked]
    _set_faults(kube, [])
    kube.await_server(kube.ports[1])
    sessions = {answer["client"]: answer for answer in answers}
    assert len({answer["id"] for answer in answers}) == len(sessions) == _CLIENTS
    for session in sessions.values():
        _await_ready(bases[0], session)
        with connect(url_of(session)) as ws:
            assert msgspec.json.decode(ws.recv())["session"] == session["id"]
            ws.send(text({"n": 1, "row": [0.5, 0.5, 0.2, 0.3]}))
            assert msgspec.json.decode(ws.recv())["n"] == 1
    end = time.monotonic() + 30
    while (workers := _workers(kube)) != Counter(session["id"] for session in sessions.values()):
        assert time.monotonic() < end, workers
        time.sleep(0.2)
    for session in sessions.values():
        headers = {"Session-Token": session["token"]}
        assert httpx.delete(f"{bases[1]}/sessions/{session['id']}", headers=headers, timeout=20).status_code == 204
    end = time.monotonic() + 30
    while _workers(kube):
        assert time.monotonic() < end, "workers are left"
        time.sleep(0.2)


def test_an_api_server_that_is_away_costs_no_session(kube: KubernetesCluster) -> None:
    base = f"http://127.0.0.1:{kube.ports[0]}"
    session = ask(base, client="kept").json()
    with connect(url_of(session)) as ws:
        ws.recv()
        _set_faults(kube, [{"code": 503}])
        refused = ask(base, client="new")
        assert (refused.status_code, refused.json()["reason"]) == (503, "unavailable")
        for n in range(1, 21):
            ws.send(text({"n": n, "row": [0.5, 0.5, 0.2, 0.3]}))
            assert msgspec.json.decode(ws.recv())["n"] == n
            time.sleep(0.1)
        _set_faults(kube, [])
        ws.send(text({"n": 21, "row": [0.5, 0.5, 0.2, 0.3]}))
        assert msgspec.json.decode(ws.recv())["n"] == 21
    httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]}, timeout=20)


def _insist(base: str, n: int) -> dict[str, Any]:
    """Repeat a request as its answer says, until it is granted."""
    end = time.monotonic() + 60
    while True:
        try:
            answer = ask(base, client=f"car-{n}", headers={"Idempotency-Key": f"trip-{n}"})
        except httpx.TransportError:
            # The server was killed.
            assert time.monotonic() < end
            time.sleep(0.2)
            continue
        if answer.status_code in (201, 202):
            session: dict[str, Any] = answer.json()
            return session
        assert answer.status_code == 503, answer.text
        assert answer.json()["remedy"]
        assert time.monotonic() < end, answer.text
        time.sleep(0.2)


def _await_ready(base: str, session: dict[str, Any]) -> None:
    headers = {"Session-Token": session["token"]}
    end = time.monotonic() + 60
    while (
        httpx.get(f"{base}/sessions/{session['id']}?wait_s=5", headers=headers, timeout=20).json()["state"] != "ready"
    ):
        assert time.monotonic() < end, "it is not ready"


def _workers(kube: KubernetesCluster) -> Counter[str]:
    """How many pods each session has."""
    annotations = (pod["metadata"].get("annotations", {}) for pod in kube.objects("pods"))
    return Counter(found["bongsu/session"] for found in annotations if "bongsu/session" in found)


def _set_faults(kube: KubernetesCluster, faults: list[dict[str, Any]]) -> None:
    headers = {"Authorization": "Bearer admin"}
    httpx.put(f"http://127.0.0.1:{kube.port}/faults", json=faults, headers=headers, timeout=20).raise_for_status()
