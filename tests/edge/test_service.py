"""This machine as a node, and what the service tells the API of a fleet; no SSH server is needed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import simplejpeg

from edge.deployments import Recorder, read_deployments
from edge.status import read_camera_nodes
from models.network import HAZARD, hazard_spec
from models.registry import read_verified
from tests.edge.conftest import ROOT, Fleet
from web.fleet import FleetStatus


@pytest.fixture
def desk(tmp_path: Path) -> Fleet:
    """A fleet without nodes and without SSH."""
    return Fleet(tmp_path / "fleet", tmp_path / "no-key")


def read(fleet: Fleet) -> FleetStatus:
    try:
        return msgspec.json.decode((fleet.folder / "status.json").read_bytes(), type=FleetStatus)
    except FileNotFoundError:
        return FleetStatus()


def until(fleet: Fleet, is_so: Callable[[FleetStatus], object]) -> FleetStatus:
    end = time.monotonic() + 60
    while not is_so(status := read(fleet)):
        assert time.monotonic() < end, status
        time.sleep(0.1)
    return status


def test_run_makes_this_machine_a_node_with_the_shipped_model(
    desk: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = tmp_path / "cameras.yaml"
    cameras.write_text("defaults: {node: mill-2}\ncameras: [{id: gate, node: any}, {id: yard}, {id: hall, node: desk}]")
    current = desk.folder / "here/models/hazard/current"
    monkeypatch.setenv("BONGSU_DETECT_WEIGHTS", str(current))
    assert hazard_spec() is HAZARD  # the detector does not wait for the first deployment
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = subprocess.Popen(
        [sys.executable, "-m", "edge.service", "--here", "--every", "1"], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "BONGSU_FLEET": str(desk.folder), "BONGSU_CAMERAS": str(cameras), "BONGSU_NODE": "desk",
             "BONGSU_METRICS_PORT": str(port)},
    )  # fmt: skip
    try:
        status = until(desk, lambda s: s.nodes and s.nodes[0].models and s.nodes[0].sampled_at and s.models)
        (node,) = status.nodes
        assert (node.name, node.kind, node.cameras) == ("desk", "here", ["hall", "gate"])
        assert node.state == "ok" or node.alerts
        until(desk, lambda s: s.models[0].versions[0].nodes == ["desk"] and s.models[0].versions[0].is_signed)
        assert until(desk, lambda s: s.deployments[0].state == "done").deployments[0].nodes[0].done_bytes > 1e7
        spec = hazard_spec()
        assert spec.path.is_relative_to(current.resolve()) and read_verified(spec.path)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert 'bongsu_node_up{edge_node="desk"} 1.0' in answer.read().decode()
        desk.ok("nodes", "drain", "desk")
        assert until(desk, lambda s: s.nodes[0].state == "drained").audit[0].action == "node_drained"
    finally:
        service.terminate()
        _, said = service.communicate(timeout=20)
    assert service.returncode == 0, said
    assert "this machine is registered already, as 'desk'" in desk.refused("nodes", "add", "other", "--here")


def test_model_runs_on_this_machine(desk: Fleet, tmp_path: Path) -> None:
    desk.ok("nodes", "add", "desk", "--here")
    desk.ok("models", "keygen")
    desk.ok("models", "push", "--shipped", "--version", "1", "--sign")
    desk.ok("models", "deploy", "hazard:1", "--nodes", "desk")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    grey = np.full((240, 320, 3), 90, np.uint8)
    (pictures / "1.jpg").write_bytes(simplejpeg.encode_jpeg(grey, colorspace="RGB"))
    seen = desk.ok("models", "run", "hazard:1", "--on", "desk", "--input", str(pictures), "--json")
    assert json.loads(seen.splitlines()[0])["source"] == "1.jpg"
    desk.ok("nodes", "remove", "desk")
    assert not (desk.folder / "here").exists()


def test_deployment_whose_command_died_is_interrupted(tmp_path: Path) -> None:
    Recorder(tmp_path, "deploy", "hazard", "1", ["gate-1"])
    (kept,) = (tmp_path / "deployments").iterdir()
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    kept.write_bytes(kept.read_bytes().replace(f'"pid":{os.getpid()}'.encode(), b'"pid":' + dead.stdout.strip()))
    (found,) = read_deployments(tmp_path)
    assert found.state == "interrupted" and "the same command" in found.reason
    with pytest.raises(KeyboardInterrupt), Recorder(tmp_path, "deploy", "hazard", "2", ["gate-1"]):
        raise KeyboardInterrupt
    newest = read_deployments(tmp_path)[0]
    assert newest.state == "failed" and "stopped by KeyboardInterrupt" in newest.reason
    (tmp_path / "deployments/20260101T000000000000-0000.json").write_text("{")
    assert len(read_deployments(tmp_path)) == 2


@pytest.mark.parametrize("content", ["", "[]", "cameras: 3", "cameras: [1, {x: 2}]", "a: [", "defaults: 7"])
def test_cameras_that_cannot_be_read_are_no_cameras(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(content)
    assert read_camera_nodes(path) == {}
