"""A client of k8s-rcv-ml works unchanged: it asks, waits, connects to a port, and speaks as it always did."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.sessions.cluster import Cluster, free_ports, running_cluster

ROW = {"x_center": 0.5, "y_center": 0.5, "width": 0.2, "height": 0.3, "Class": "A"}


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    # Of another range than the receive server's own port, which is chosen later.
    return dict(zip(("scalar", "image", "object"), free_ports(3, 23_000), strict=True))


@pytest.fixture(scope="module")
def cluster(ports: dict[str, int]) -> Iterator[Cluster]:
    legacy = ",".join(f"{kind}={port}" for kind, port in ports.items())
    with running_cluster(sessions_legacy_ports=legacy, sessions_cores="0.6", sessions_wait_s="20") as running:
        running.serve()
        running.await_idle("scalar")
        yield running


def test_pictures_in_base64_are_answered(cluster: Cluster, ports: dict[str, int], jpeg: bytes) -> None:
    answer = _ask(cluster, "object", "car-1")
    assert answer == {"service_port": str(ports["object"]), "offloading": 0}
    with connect(f"ws://127.0.0.1:{answer['service_port']}") as ws:
        for _ in range(2):
            ws.send(
                json.dumps({"data": base64.b64encode(jpeg).decode(), "timestamp": "2026-11-27 10:00:00.000"}, indent=4)
            )
            assert isinstance(json.loads(ws.recv())["boxes"], list)
        ws.send("{}")
        assert "remedy" in json.loads(ws.recv())
    full = _ask(cluster, "image", "car-2")
    assert full == {"service_port": str(ports["image"]), "offloading": 1}
    assert _disconnect(cluster, "object") == {"type": "object", "ended": 1}
    assert _disconnect(cluster, "object") == {"type": "object", "ended": 0}


def test_forty_rows_get_one_answer(cluster: Cluster) -> None:
    answer = _ask(cluster, "scalar", "car-1")
    with connect(f"ws://127.0.0.1:{answer['service_port']}") as ws:
        for _ in range(40):
            ws.send(json.dumps({**ROW, "timestamp": "now"}))
        assert ws.recv() == "Model ready"
        for _ in range(40):
            ws.send(json.dumps({**ROW, "timestamp": "now"}))
        assert json.loads(ws.recv())["label"] in ("accident", "fire", "gun", "knife")
    assert _disconnect(cluster, "scalar") == {"type": "scalar", "ended": 1}


def test_a_port_lets_in_only_who_has_asked(cluster: Cluster, ports: dict[str, int]) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{ports['image']}"):
        pass
    assert refused.value.response.status_code == 404


def _ask(cluster: Cluster, kind: str, client: str) -> dict[str, object]:
    params = {"type": kind, "clientID": client, "clienttime": "2026-11-27 10:00:00.000"}
    answer = httpx.get(f"http://127.0.0.1:{cluster.ports[0]}/app-service", params=params, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def _disconnect(cluster: Cluster, kind: str) -> dict[str, object]:
    found: dict[str, object] = httpx.get(
        f"http://127.0.0.1:{cluster.ports[0]}/app-disconnect", params={"type": kind}
    ).json()
    return found
