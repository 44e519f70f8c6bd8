"""Every manifest of keda/, against KEDA's own schema, against what it starts, and against the two-trigger rule."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from functions.function import load_function
from local.manifest import Workload, read_manifest

KEDA = Path(__file__).resolve().parents[2] / "keda"
FILES = sorted(KEDA.glob("*.yaml"))
SCALED = [path for path in FILES if read_manifest(path)]
DOCUMENTS = [(path, d) for path in FILES for d in yaml.safe_load_all(path.read_text()) if d]


def schema_of(kind: str) -> dict[str, Any]:
    """KEDA 2.20.2's schema of a kind, made strict: the API server, too, refuses fields that it does not name."""
    for path in sorted((Path(__file__).parent / "crd").glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        if definition["spec"]["names"]["kind"] == kind:
            (version,) = definition["spec"]["versions"]
            schema = version["schema"]["openAPIV3Schema"]
            # A custom resource's metadata is checked by the server itself, not by the definition.
            schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
            return {"type": "object", **_strict(schema)}
    raise AssertionError(f"tests/keda/crd has no schema for {kind}")


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        strict["additionalProperties"] = False
    return strict


def scaled(path: Path) -> Workload:
    (workload,) = read_manifest(path)
    return workload


def test_the_four_workloads_are_there() -> None:
    assert {path.stem for path in SCALED} >= {"detect", "map", "caption", "post"}


@pytest.mark.parametrize(
    ("path", "document"),
    [pytest.param(p, d, id=f"{p.stem}-{d['kind']}-{d['metadata']['name']}") for p, d in DOCUMENTS],
)
def test_keda_kinds_satisfy_kedas_schema(path: Path, document: dict[str, Any]) -> None:
    group = document["apiVersion"].partition("/")[0]
    assert group in ("apps", "keda.sh"), f"{path}: {group} is not checked by any test"
    if group == "keda.sh":
        jsonschema.validate(document, schema_of(document["kind"]))


@pytest.mark.parametrize("change", [{"pollingIntervall": 1}, {"pollingInterval": "1"}, {"maxReplicaCount": 0}])
def test_the_schema_refuses_a_wrong_field(change: dict[str, Any]) -> None:
    path = KEDA / "post.yaml"
    document = next(d for p, d in DOCUMENTS if p == path and d["kind"] == "ScaledObject")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "spec": {**document["spec"], **change}}, schema_of("ScaledObject"))


@pytest.mark.parametrize("path", SCALED, ids=lambda path: path.stem)
def test_each_queue_has_amqp_http_and_rate_triggers(path: Path) -> None:
    triggers = scaled(path).rule.triggers
    for queue in scaled(path).rule.queues:
        kinds = [(t.counts_unacked, t.counts_rate) for t in triggers if t.queue == queue]
        wanted = [(False, False), (True, False), (True, True)]
        assert sorted(kinds) == wanted, f"{path.name}: {queue} needs triggers over amqp, over http, and on its rate"
        assert len({(t.value, t.activation) for t in triggers if t.queue == queue and not t.counts_rate}) == 1


@pytest.mark.parametrize("path", SCALED, ids=lambda path: path.stem)
def test_triggers_reference_credentials_not_hold_them(path: Path) -> None:
    known = {d["metadata"]["name"] for _, d in DOCUMENTS if d["kind"] == "TriggerAuthentication"}
    for document in (d for p, d in DOCUMENTS if p == path and d["kind"] == "ScaledObject"):
        for trigger in document["spec"]["triggers"]:
            protocol = trigger["metadata"]["protocol"]
            assert trigger["authenticationRef"]["name"] == f"bongsu-rabbitmq-{protocol}"
            assert trigger["authenticationRef"]["name"] in known
            assert not {"host", "username", "password"} & set(trigger["metadata"])


@pytest.mark.parametrize("path", SCALED, ids=lambda path: path.stem)
def test_the_function_drains_exactly_the_queues_that_wake_it(path: Path) -> None:
    workload = scaled(path)
    assert importlib.util.find_spec(workload.target.partition(".")[0]) is not None
    function = load_function(workload.target)
    assert set(function.queues) == set(workload.rule.queues)
    assert workload.name == function.name.replace("_", "-")  # Kubernetes allows no underscore


@pytest.mark.parametrize("path", SCALED, ids=lambda path: path.stem)
def test_scale_down_is_slow_and_outlasts_handlers(path: Path) -> None:
    workload = scaled(path)
    (policy,) = workload.rule.down.policies
    assert (policy.kind, policy.value, policy.period_s) == ("Pods", 1, 60.0)
    assert not workload.notes
    slowest_s = max(s.timeout_s for s in load_function(workload.target).subscriptions)
    assert workload.grace_s >= slowest_s + 5
