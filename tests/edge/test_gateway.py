"""A node's token: it pulls and reports of itself, and does nothing else; once revoked it opens nothing."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import FleetError
from edge.reports import MAX_REPORT_BYTES, Report, ReportFolder
from edge.settings import read_gateway_settings, read_settings
from edge.tokens import TokenFile
from tests.edge.conftest import ROOT, Fleet
from tests.edge.servers import OciRegistry, SshNode
from tests.edge.test_deploy_to_nodes import add, current, push
from tests.servers import Server

NewNode = Callable[..., SshNode]
HEALTH = {
    "cpu": 0.5, "load": 1.0, "memory_bytes": 8, "memory_free_bytes": 4, "disk_bytes": 8, "disk_free_bytes": 4,
    "received_bytes_per_s": 0.0, "sent_bytes_per_s": 0.0, "uptime_s": 5.0,
}  # fmt: skip


class Gateway(Server):
    """`python -m edge.gateway` of one fleet."""

    name = "gateway"

    def __init__(self, home: Path, fleet: Fleet) -> None:
        super().__init__(home)
        self._fleet = fleet

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return (self.home / "out.log").read_text()

    def ask(
        self, path: str, token: str | None, *, method: str = "GET", body: bytes | None = None, user: str = ""
    ) -> int:
        """The status of an answer."""
        request = urllib.request.Request(self.url + path, body, method=method)
        if user:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode())
        elif token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def _command(self) -> tuple[list[str], dict[str, str]]:
        environ = {
            **os.environ, "PYTHONPATH": str(ROOT), "BONGSU_FLEET": str(self._fleet.folder), **self._fleet.environment,
            "BONGSU_GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
        }  # fmt: skip
        return [sys.executable, "-m", "edge.gateway"], environ


@pytest.fixture
def gateway(tmp_path: Path, fleet: Fleet) -> Iterator[Gateway]:
    server = Gateway(tmp_path / "gateway", fleet)
    server.start()
    fleet.environment["BONGSU_FLEET_GATEWAY"] = server.url
    yield server
    server.stop()


def token_on(node: SshNode) -> str:
    return (node.user_home / ".bongsu/gateway/token").read_text()


def report_from(node: SshNode) -> subprocess.CompletedProcess[str]:
    """As cron on the node does."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(node.user_home / ".bongsu/gateway/report.pyz")],
        env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


REPORT = json.dumps({"clock": 1.0, "health": HEALTH}).encode()


@pytest.mark.connected
def test_a_node_pulls_and_reports_until_it_is_revoked(
    fleet: Fleet, registry: OciRegistry, gateway: Gateway, new_node: NewNode, make_model: Callable[..., Path]
) -> None:
    gateway.stop()
    fleet.environment |= registry.environment
    gateway.start()
    node, other = new_node("gate"), new_node("mill")
    add(fleet, node, "gate-1")
    add(fleet, other, "mill-1")
    push(fleet, make_model("1"))
    assert "hazard:1 in use" in fleet.ok("models", "deploy", "hazard:1", "--nodes", "gate-1")
    assert (current(node) / "weights.onnx").stat().st_size == 300_000

    assert report_from(node).returncode == 0
    sample = ReportFolder(fleet.folder).newest("gate-1", within_s=60)
    assert sample is not None and sample.health is not None and sample.health.memory_bytes > 1 << 20
    token, of_other = token_on(node), token_on(other)
    assert token != of_other

    # It says nothing for another node, and changes nothing.
    assert gateway.ask("/nodes/mill-1/report", token, method="POST", body=REPORT) == 403
    assert gateway.ask("/v2/hazard/manifests/1", token, user="mill-1") == 403
    assert gateway.ask("/v2/hazard/manifests/1", token, user="gate-1") == 200
    for method in ("PUT", "POST", "PATCH", "DELETE"):
        assert gateway.ask("/v2/hazard/manifests/2", token, method=method, body=b"{}") == 405
        assert gateway.ask("/v2/hazard/blobs/uploads/", token, method=method, body=b"") in (404, 405)
    assert gateway.ask("/v2/_catalog", token) == 404
    assert gateway.ask("/v2/", None) == gateway.ask("/v2/", "bongsu-node-guess") == 401

    said = fleet.run("nodes", "revoke", "gate-1")
    assert said.stdout.startswith("gate-1 is shut out") and "passwords of the cameras" in said.stderr
    for path in ("/v2/", "/v2/hazard/manifests/1", f"/v2/hazard/blobs/sha256:{'0' * 64}", "/nowhere"):
        assert gateway.ask(path, token) == 403, path
    assert gateway.ask("/nodes/gate-1/report", token, method="POST", body=REPORT) == 403
    refused = report_from(node)
    assert refused.returncode == 1 and "HTTP 403" in refused.stderr
    assert ReportFolder(fleet.folder).newest("gate-1", within_s=60) is None
    assert gateway.ask("/v2/", of_other) == 200

    before = node.log().count("Accepted publickey")
    assert "is drained or revoked" in fleet.refused("models", "deploy", "hazard:1", "--nodes", "gate-1")
    assert "was revoked" in fleet.refused("nodes", "show", "gate-1", "--now")
    assert "gate-1" not in fleet.ok("nodes", "export")
    fleet.run("fleet", "serve", "--once")
    status = json.loads((fleet.folder / "status.json").read_bytes())
    assert status["nodes"][0]["state"] == "revoked"
    assert node.log().count("Accepted publickey") == before, "something connected to a node that was revoked"
    fleet.ok("nodes", "remove", "gate-1")

    # `remove` revokes, too.
    fleet.ok("nodes", "remove", "mill-1")
    assert gateway.ask("/v2/", of_other) == 403

    kept = [path.read_text(errors="replace") for path in fleet.folder.rglob("*") if path.is_file()]
    for secret in (token, of_other):
        assert not any(secret in text for text in [*kept, gateway.log(), said.stdout, said.stderr, node.log()])
    assert "only-for-tests" not in gateway.log()


@pytest.mark.connected
def test_a_new_token_replaces_the_old_one(fleet: Fleet, gateway: Gateway, new_node: NewNode) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    old = token_on(node)
    fleet.ok("nodes", "token", "gate-1")
    assert gateway.ask("/v2/", old) == 403
    assert gateway.ask("/v2/", token_on(node)) == 200
    (node.user_home / ".bongsu/gateway/token").unlink()
    assert "no token of its own" in report_from(node).stderr


@pytest.mark.connected
def test_a_long_or_wrong_report_is_refused(fleet: Fleet, gateway: Gateway) -> None:
    token = TokenFile(fleet.folder).issue("gate-1")
    assert gateway.ask("/nodes/gate-1/report", token, method="POST", body=b"x" * (MAX_REPORT_BYTES + 1)) == 413
    statuses = [gateway.ask("/nodes/gate-1/report", token, method="POST", body=b) for b in (b"{}", REPORT)]
    assert set(statuses) <= {400, 429} and 429 in statuses  # one a second
    assert gateway.ask("/v2/" + "a" * 200 + "/manifests/1", token) == 400
    assert gateway.ask("/v2/../tokens.json/manifests/1", token) in (400, 404)


KEYS = st.sampled_from(["clock", "health", *HEALTH])


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
        st.dictionaries(st.sampled_from(sorted(HEALTH)), st.floats() | st.integers()).map(
            lambda changed: json.dumps({"clock": 1.0, "health": {**HEALTH, **changed}}).encode()
        ),
    )
)
def test_what_a_node_reports_is_refused_or_can_be_shown(tmp_path_factory: pytest.TempPathFactory, said: bytes) -> None:
    try:
        report = msgspec.json.decode(said, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    folder = ReportFolder(tmp_path_factory.getbasetemp() / "reports")
    folder.put("gate-1", report)
    sample = folder.newest("gate-1", within_s=60)
    assert sample is not None and isinstance(sample.alerts, list)
    json.dumps(msgspec.to_builtins(sample), allow_nan=False, default=str)


def test_tokens_are_kept_as_hashes_and_a_broken_file_is_said(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    token = tokens.issue("gate-1")
    assert token not in tokens.path.read_text() and tokens.path.stat().st_mode & 0o077 == 0
    found = tokens.find(token)
    assert found is not None and found.node == "gate-1" and found.revoked_at is None
    assert tokens.revoke("gate-1") == 1 and tokens.revoke("gate-1") == 0
    found = tokens.find(token)
    assert found is not None and found.revoked_at is not None
    assert tokens.find(token + "x") is None
    tokens.path.write_text("{")
    with pytest.raises(FleetError, match="cannot be read"):
        TokenFile(tmp_path).find(token)


@pytest.mark.parametrize("listen", ["", "8094", "host:", "host:99999"])
def test_an_address_of_another_form_is_named(listen: str) -> None:
    if not listen:
        assert read_gateway_settings({}).host == "127.0.0.1"
        return
    with pytest.raises(FleetError, match="BONGSU_GATEWAY_LISTEN must be host:port"):
        read_gateway_settings({"BONGSU_GATEWAY_LISTEN": listen})


def test_tokens_are_never_read_or_sent_unencrypted(fleet: Fleet) -> None:
    fleet.environment["BONGSU_GATEWAY_LISTEN"] = "0.0.0.0:32001"
    assert "would read tokens unencrypted" in fleet.refused("fleet", "gateway")
    for url in ("http://fleet.example", "http://127.0.0.1.example.org", "ftp://x"):
        with pytest.raises(FleetError, match="BONGSU_FLEET_GATEWAY must be https"):
            read_settings({"BONGSU_FLEET_GATEWAY": url})
