"""k8s/sessions as a cluster would get it: valid, small in rights, and of one mind with the code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sessions import pods, settings
from sessions.catalogue import KINDS
from sessions.cluster_capacity import quantity

ROOT = Path(__file__).parents[2]
OBJECTS: list[dict[str, Any]] = [
    one
    for path in sorted((ROOT / "k8s/sessions").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for one in yaml.safe_load_all(path.read_text())
]
DEPLOYMENTS = {o["metadata"]["name"]: o["spec"] for o in OBJECTS if o["kind"] == "Deployment"}
WORKERS = {name.removeprefix("session-"): spec for name, spec in DEPLOYMENTS.items() if name != "sessions"}


@pytest.mark.parametrize("kind", KINDS)
def test_workers_ask_for_what_the_catalogue_says(kind: str) -> None:
    (container,) = WORKERS[kind]["template"]["spec"]["containers"]
    requests = container["resources"]["requests"]
    assert quantity(str(requests["cpu"])) == pytest.approx(KINDS[kind].cores)
    assert quantity(requests["memory"]) == pytest.approx(KINDS[kind].memory_mb * 1e6)
    assert quantity(container["resources"]["limits"]["memory"]) >= quantity(requests["memory"])
    assert f"--kind={kind}" in container["args"]


def test_a_claim_takes_a_pod_out_of_its_pool() -> None:
    for kind, spec in WORKERS.items():
        # The selector must name what a claim removes, or the Deployment would keep the pod and start no other.
        assert spec["selector"]["matchLabels"] == {pods.POOL_LABEL: kind}
        assert pods.WORKER_LABELS.items() <= spec["template"]["metadata"]["labels"].items()


def test_settings_are_those_that_the_code_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    (data,) = (o["data"] for o in OBJECTS if o["kind"] == "ConfigMap")
    (container,) = DEPLOYMENTS["sessions"]["template"]["spec"]["containers"]
    for name, value in {**data, **{e["name"]: e["value"] for e in container["env"]}}.items():
        monkeypatch.setenv(name, value)
    read = settings.load()
    assert read.sessions_cluster == "kubernetes"
    assert read.sessions_ask == "key"


def test_workers_reach_nothing_and_have_no_token() -> None:
    (policy,) = (
        o["spec"] for o in OBJECTS if o["metadata"]["name"] == "session-worker" and o["kind"] == "NetworkPolicy"
    )
    assert policy["egress"] == []
    assert policy["podSelector"]["matchLabels"].items() <= pods.WORKER_LABELS.items()
    for spec in WORKERS.values():
        assert spec["template"]["spec"]["automountServiceAccountToken"] is False


def test_rights_end_at_the_namespace_but_for_reading_nodes() -> None:
    rules = [(o["kind"], rule) for o in OBJECTS for rule in o.get("rules", [])]
    assert [rule for kind, rule in rules if kind == "ClusterRole"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}
    ]
    assert not any("*" in rule[part] for _, rule in rules for part in ("apiGroups", "resources", "verbs"))


def test_kustomize_renders_it() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(ROOT / "k8s/sessions")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {o["kind"] for o in yaml.safe_load_all(done.stdout)} == {o["kind"] for o in OBJECTS}
