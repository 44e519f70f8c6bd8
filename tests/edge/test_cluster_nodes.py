"""Nodes of a cluster: adopted with kubectl, and watched by what the cluster hears of them; with a double of its API."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge.cluster import quantity
from tests.edge.conftest import ROOT, Fleet
from tests.edge.servers import make_certificates
from tests.sessions.cluster import free_port


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[httpx.Client]:
    """A cluster of two nodes, one with a GPU: a client of its API server."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl: tests/services.sh has it")
    port = free_port()
    nodes = ("edge-1:4:8Gi:topology.kubernetes.io/region=seoul", "gpu-1:15900m:64Gi:gpu=2")
    command = [sys.executable, "-m", "tests.kube", "--port", str(port), "--state", str(tmp_path)]
    command += ["--certificates", str(tmp_path)]
    make_certificates(tmp_path)
    double = subprocess.Popen([*command, *(part for node in nodes for part in ("--node", node))], cwd=ROOT)
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    headers = {"Authorization": "Bearer admin"}
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, headers=headers) as client:
        for _ in range(300):
            try:
                if client.get("/api/v1/nodes/edge-1").is_success:
                    break
            except httpx.TransportError:
                assert double.poll() is None
            time.sleep(0.1)
        yield client
    double.send_signal(signal.SIGTERM)
    double.wait(20)


def test_nodes_of_a_cluster_are_adopted_and_watched(cluster: httpx.Client, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", tmp_path / "key", {"KUBECONFIG": str(tmp_path / "kubeconfig")})
    added = fleet.ok("nodes", "add", "edge-1", "--kubernetes", "--place", "37.5,127,Gate,Seoul")
    assert "edge-1 added: amd64, 4 CPUs, 8.6 GB" in added and "containerd://2.1.4" in added
    assert "15 CPUs" in (gpu := fleet.ok("nodes", "add", "gpu-1", "--kubernetes")) and "2 nvidia.com/gpu" in gpu
    assert 'nodes "nowhere" not found' in fleet.refused("nodes", "add", "nowhere", "--kubernetes")
    assert "cluster" in fleet.ok("nodes", "list", "--nodes", "region=Seoul")
    fleet.ok("nodes", "watch", "--once")
    down = {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting."}]}}
    headers = {"Content-Type": "application/merge-patch+json"}
    cluster.patch("/api/v1/nodes/gpu-1/status", content=json.dumps(down), headers=headers).raise_for_status()
    assert "'gpu-1' is not ready: Kubelet stopped posting." in fleet.refused("nodes", "watch", "--once")
    fleet.run("fleet", "serve", "--once")
    states = {n["name"]: n["state"] for n in json.loads((fleet.folder / "status.json").read_text())["nodes"]}
    assert states == {"edge-1": "ok", "gpu-1": "down"}
    said = fleet.refused("models", "deploy", "hazard:1", "--nodes", "edge-1", "--allow-unsigned")
    assert "no model" in said or "cluster" in said
    said = fleet.run("nodes", "revoke", "edge-1").stderr
    assert "kubectl delete node edge-1" in said and "not evicted" not in said, said
    spec = cluster.get("/api/v1/nodes/edge-1").json()["spec"]
    assert spec["unschedulable"] is True
    assert {"key": "bongsu.org/revoked", "value": "yes", "effect": "NoExecute"} in spec["taints"]
    fleet.ok("nodes", "remove", "edge-1")


@pytest.mark.parametrize(("given", "number"), [("4", 4), ("3900m", 3.9), ("8Gi", 8 << 30), ("2k", 2000)])
def test_quantities_of_kubernetes(given: str, number: float) -> None:
    assert quantity(given) == number
