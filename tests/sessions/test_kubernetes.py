"""What only a cluster does: garbage collection, quotas, hardware classes, drains, and a lagging or broken watch."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.sessions.cluster import NAMESPACE, KubernetesCluster, ask, running_cluster, text, url_of

ROW = [0.5, 0.5, 0.2, 0.3]


@pytest.fixture(scope="module")
def kube() -> Iterator[KubernetesCluster]:
    with running_cluster(
        "kubernetes", sessions_warm="scalar=1", sessions_per_client="50", sessions_per_owner="100", rate_limit="0",
        sessions_wait_s="20",
    ) as running:  # fmt: skip
        assert isinstance(running, KubernetesCluster)
        running.serve()
        running.await_idle("scalar")
        yield running


@pytest.fixture
def base(kube: KubernetesCluster) -> Iterator[str]:
    url = f"http://127.0.0.1:{kube.ports[0]}"
    yield url
    for secret in _records(kube):
        kube.api("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret['metadata']['name']}")
    _until(lambda: not _bound(kube) and not kube.list_all()["sessions"], "sessions are left")


def test_a_worker_is_owned_by_its_session(kube: KubernetesCluster, base: str) -> None:
    session = ask(base).json()
    (pod,) = _bound(kube)
    (record,) = _records(kube)
    (owner,) = pod["metadata"]["ownerReferences"]
    assert owner["uid"] == record["metadata"]["uid"]
    kube.api("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/{record['metadata']['name']}")
    _until(lambda: not _bound(kube), "the worker outlives its session")
    answer = httpx.get(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})
    assert answer.status_code == 404


def test_a_claimed_pod_is_replaced_in_the_pool(kube: KubernetesCluster, base: str) -> None:
    ask(base)
    kube.await_idle("scalar")
    pool = [p for p in kube.objects("pods") if p["metadata"]["labels"].get("bongsu/pool") == "scalar"]
    assert len(pool) == 1
    assert len(_bound(kube)) == 1


def test_a_full_quota_makes_a_client_wait(kube: KubernetesCluster, base: str) -> None:
    quota = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/sessions"
    kube.api("PATCH", quota, {"spec": {"hard": {"requests.cpu": "200m"}}})
    try:
        session = ask(base, "object", client="over-quota", ttl_s=60).json()
        assert (session["state"], session["place"]) == ("waiting", 1)
    finally:
        kube.api("PATCH", quota, {"spec": {"hard": {"requests.cpu": "8"}}})
    headers = {"Session-Token": session["token"]}
    came = httpx.get(f"{base}/sessions/{session['id']}?wait_s=40", headers=headers, timeout=60)
    assert came.json()["state"] == "ready"


def test_hardware_classes_decide_where_it_runs(kube: KubernetesCluster, base: str) -> None:
    with _nodes(kube, nano="8", tx2="8", xavier="0.06"):
        first, second = (ask(base, "scalar", client=f"class-{n}", needs={"class": "tx2"}).json() for n in range(2))
        assert {first["node"], second["node"]} == {"tx2"}
        preferred = ask(base, "scalar", client="xavier", needs={"class": "xavier"}).json()
        assert preferred["node"] == "xavier"
        # That node is full now, and nobody else will do.
        waiting = ask(base, "scalar", client="xavier-2", needs={"class": "xavier"}, ttl_s=30)
        assert waiting.json()["state"] == "waiting"
        never = ask(base, "scalar", client="nano", needs={"class": "nano"})
        assert (never.status_code, never.json()["reason"]) == (422, "no_such_hardware")
        assert "(classes: xavier, tx2)" in never.json()["detail"]


def test_preferred_hardware_is_taken_first(kube: KubernetesCluster, base: str) -> None:
    with _nodes(kube, tx2="8", xavier="8"):
        assert ask(base, "object", client="any").json()["node"] == "xavier"


def test_a_client_does_not_wait_for_the_next_probe(kube: KubernetesCluster, base: str) -> None:
    path = "/apis/apps/v1/namespaces/bongsu-sessions/deployments/session-image"
    template = kube.api("GET", path)["spec"]["template"]
    template["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = 60
    kube.api("PATCH", path, {"spec": {"template": template}})
    session = ask(base, "image", client="soon").json()
    headers = {"Session-Token": session["token"]}
    came = httpx.get(f"{base}/sessions/{session['id']}?wait_s=30", headers=headers, timeout=40)
    assert came.json()["state"] == "ready"
    (pod,) = _bound(kube)
    assert {"type": "Ready", "status": "False"} in pod["status"]["conditions"]
    with connect(url_of(session)) as ws:
        assert msgspec.json.decode(ws.recv())["kind"] == "image"


def test_a_drained_node_hands_its_sessions_on(kube: KubernetesCluster, base: str) -> None:
    with _nodes(kube, tx2="8", xavier="8"):
        session = ask(base, "scalar", client="moves", needs={"class": "xavier"}).json()
        with connect(url_of(session)) as ws:
            ws.recv()
            kube.api("PATCH", "/api/v1/nodes/xavier", {"spec": {"unschedulable": True}})
            kube.api("POST", "/api/v1/nodes", _node("xavier-2", "xavier", "8"))
            (pod,) = _bound(kube)
            for n in range(1, 21):
                ws.send(text({"n": n, "row": ROW}))
            kube.api("POST", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/eviction", {})
            # It answers until another worker is ready, then it says that the session moves.
            messages = []
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    messages.append(msgspec.json.decode(ws.recv(timeout=20)))
            *results, moving = messages
            answered = [message["n"] for message in results]
            assert answered == list(range(1, len(answered) + 1))
            assert moving["type"] == "moving"
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        headers = {"Session-Token": session["token"]}
        _until(lambda: _get(base, session, headers).get("node") == "xavier-2", "it has not moved")
        with connect(url_of(session, resume=moving["resume"], after=len(answered))) as ws:
            assert msgspec.json.decode(ws.recv())["resumed"] is True
            for n in range(len(answered) + 1, 22):
                ws.send(text({"n": n, "row": ROW}))
                answered.append(msgspec.json.decode(ws.recv())["n"])
        assert answered == list(range(1, 22))
        kube.api("DELETE", "/api/v1/nodes/xavier-2")


def test_a_server_that_was_killed_finds_all_again(kube: KubernetesCluster, base: str) -> None:
    session = ask(base, client="kept").json()
    with connect(url_of(session)) as ws:
        resume = msgspec.json.decode(ws.recv())["resume"]
    before = {pod["metadata"]["name"] for pod in _bound(kube)}
    for _ in range(2):
        kube.servers[0].end(signal.SIGKILL)
        kube.servers[0].start()
        kube.await_server(kube.ports[0])
        time.sleep(2)
        # Nothing was ended for what the new server had not heard of yet.
        assert {pod["metadata"]["name"] for pod in _bound(kube)} == before
    with connect(url_of(session, resume=resume, after=0)) as ws:
        assert msgspec.json.decode(ws.recv())["resumed"] is True


def test_an_idle_worker_of_another_kind_gives_way() -> None:
    with running_cluster(
        "kubernetes", sessions_warm="scalar=1", sessions_cores="0.52", sessions_wait_s="30", rate_limit="0"
    ) as kube:
        base = kube.serve()
        kube.await_idle("scalar")
        session = ask(base, "object").json()
        assert session["state"] in ("ready", "starting"), session
        assert kube.list_all()["idle"] == []


def test_an_unreadable_record_costs_no_worker(kube: KubernetesCluster, base: str) -> None:
    session = ask(base, client="skew").json()
    secret = f"/api/v1/namespaces/{NAMESPACE}/secrets/session-{session['id']}"
    # As if a newer version of the receive server had written it: {}.
    kube.api("PATCH", secret, {"data": {"session.json": "e30="}})
    kube.servers[0].end(signal.SIGKILL)
    kube.servers[0].start()
    kube.await_server(kube.ports[0])
    time.sleep(4)
    assert len(_bound(kube)) == 1
    assert ask(base, client="other").status_code == 201


def test_an_ended_session_is_said_to_have_ended(kube: KubernetesCluster, base: str) -> None:
    session = ask(base, client="ends").json()
    with connect(url_of(session)) as ws:
        ws.recv()
        httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def _records(kube: KubernetesCluster) -> list[dict[str, Any]]:
    return [s for s in kube.objects("secrets") if s.get("type") == "bongsu/session"]


def _bound(kube: KubernetesCluster) -> list[dict[str, Any]]:
    return [pod for pod in kube.objects("pods") if "bongsu/session" in pod["metadata"].get("annotations", {})]


def _get(base: str, session: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{base}/sessions/{session['id']}", headers=headers, timeout=20).json()
    return found if found.get("state") == "ready" else {}


class _nodes:  # noqa: N801 - read as a statement
    """Nodes of those classes and cores in place of the cluster's own, which takes no more pods."""

    def __init__(self, kube: KubernetesCluster, **cores: str) -> None:
        self._kube, self._cores = kube, cores

    def __enter__(self) -> None:
        self._kube.api("PATCH", "/api/v1/nodes/edge-1", {"spec": {"unschedulable": True}})
        for name, cores in self._cores.items():
            self._kube.api("POST", "/api/v1/nodes", _node(name, name, cores))

    def __exit__(self, *_: object) -> None:
        self._kube.api("PATCH", "/api/v1/nodes/edge-1", {"spec": {"unschedulable": None}})
        for name in self._cores:
            self._kube.api("DELETE", f"/api/v1/nodes/{name}")


def _node(name: str, class_: str, cores: str) -> dict[str, Any]:
    room = {"cpu": cores, "memory": "4G", "pods": "110"}
    return {
        "metadata": {"name": name, "labels": {"bongsu/class": class_}},
        "spec": {},
        "status": {"allocatable": room, "capacity": room},
    }


def _until(is_so: Callable[[], bool], what: str, within_s: float = 40.0) -> None:
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            pytest.fail(what)
        time.sleep(0.2)
