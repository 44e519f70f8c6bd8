"""What a node does with requests that nobody of ours would send, run as it runs there: a bare Python, a pipe."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge import ssh

ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """One request to a node whose home is `tmp_path/home`; its last message."""
    (tmp_path / "home").mkdir()

    def send(request: dict[str, Any]) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", ssh.BOOTSTRAP],
            input=ssh.sources() + b"\n" + json.dumps(request).encode() + b"\n",
            env={"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.stdout, done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    return send


def request_for(content: bytes, **changed: Any) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {
        "command": "deploy", "name": "hazard", "digest": digest, "manifest": base64.b64encode(content).decode(),
        "require_signature": False, "signatures": [], "trusted": [], "source": None, "keep": 3, **changed,
    }  # fmt: skip


def manifest(**layer: Any) -> bytes:
    one = {"digest": f"sha256:{'0' * 64}", "size": 1, "annotations": {"org.cncf.model.filepath": "w.onnx"}, **layer}
    return json.dumps({"layers": [one]}).encode()


def test_what_runs_on_a_node_is_python_3_9() -> None:
    for path in (ROOT / "edge/node").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 9))


def test_facts_need_nothing_but_python(ask: Ask) -> None:
    facts = ask({"command": "facts"})
    assert facts["kind"] == "result"
    assert facts["cpus"] >= 1


def test_an_unsigned_version_is_refused_by_the_node_itself(ask: Ask) -> None:
    answer = ask(request_for(manifest(), require_signature=True))
    assert answer["kind"] == "error"
    assert "is not signed" in answer["reason"]


def test_node_refuses_a_signature_of_another_version(ask: Ask) -> None:
    payload = json.dumps({"critical": {"image": {"docker-manifest-digest": f"sha256:{'1' * 64}"}}}).encode()
    signature = {"payload": base64.b64encode(payload).decode(), "value": ""}
    answer = ask(request_for(manifest(), require_signature=True, signatures=[signature], trusted=["x"]))
    assert "is not signed by a trusted key (1 known)" in answer["reason"]


def test_a_manifest_that_is_not_its_digest_is_refused(ask: Ask) -> None:
    answer = ask({**request_for(manifest()), "digest": f"sha256:{'2' * 64}"})
    assert "it was altered in transfer" in answer["reason"]


@pytest.mark.parametrize("name", ["../../.ssh/authorized_keys", "/etc/passwd", ".bashrc", "a\0b", "a/b", ""])
def test_a_file_cannot_leave_the_model_s_folder(ask: Ask, tmp_path: Path, name: str) -> None:
    answer = ask(request_for(manifest(annotations={"org.cncf.model.filepath": name})))
    assert "which is not allowed there" in answer["reason"]
    assert not list((tmp_path / "home").rglob("w*"))


@pytest.mark.parametrize("name", ["../x", "/x", "A", "", "x/../../y"])
def test_a_model_cannot_leave_the_folder_of_models(ask: Ask, name: str) -> None:
    assert "which is not allowed there" in ask(request_for(manifest(), name=name))["reason"]


def test_a_rollback_without_an_earlier_version_says_so(ask: Ask) -> None:
    assert "no earlier version of hazard is kept here" in ask({"command": "rollback", "name": "hazard"})["reason"]


def test_remove_takes_all_of_ours_and_nothing_else(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "home/mine").write_text("kept")
    ask({"command": "install-ca", "ca": "-----BEGIN CERTIFICATE-----"})
    assert (tmp_path / "home/.bongsu/registry/ca.pem").exists()
    assert ask({"command": "remove"})["kind"] == "result"
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["mine"]
