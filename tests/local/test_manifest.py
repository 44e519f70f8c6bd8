from __future__ import annotations

from pathlib import Path

import pytest

from local.manifest import ManifestError, read_manifest, read_workloads
from local.rules import DEFAULT_UP, Policy, ScalingRules, Trigger

GOOD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: post}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 40
      containers:
        - name: post
          command: [python, -m, functions, notify.post]
          env:
            - {name: TONE, value: calm}
            - {name: KEY, valueFrom: {secretKeyRef: {name: x, key: y}}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: post}
spec:
  scaleTargetRef: {name: post}
  pollingInterval: 2
  cooldownPeriod: 20
  minReplicaCount: 1
  maxReplicaCount: 4
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: 30
          policies: [{type: Pods, value: 1, periodSeconds: 60}]
  triggers:
    - type: rabbitmq
      metadata: {protocol: amqp, queueName: captioned.post, mode: QueueLength, value: "20", activationValue: "3"}
      authenticationRef: {name: bongsu-rabbitmq-amqp}
    - type: rabbitmq
      metadata: {protocol: http, queueName: captioned.post, mode: QueueLength, value: "20"}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "post.yaml"
    path.write_text(text)
    return path


def test_manifest_is_read_as_a_workload(tmp_path: Path) -> None:
    (workload,) = read_manifest(write(tmp_path, GOOD))
    assert (workload.name, workload.target, workload.grace_s) == ("post", "notify.post", 40.0)
    assert workload.env == {"TONE": "calm"}
    assert workload.notes == ()
    rule = workload.rule
    assert rule.triggers == (
        Trigger("captioned.post", 20.0, activation=3.0, counts_unacked=False),
        Trigger("captioned.post", 20.0, activation=0.0, counts_unacked=True),
    )
    assert (rule.polling_interval_s, rule.cooldown_s, rule.min_replicas, rule.max_replicas) == (2.0, 20.0, 1, 4)
    assert rule.down == ScalingRules(30.0, (Policy("Pods", 1, 60.0),))
    assert rule.up == DEFAULT_UP


def test_keda_defaults_apply_and_slow_ones_are_noted(tmp_path: Path) -> None:
    silent = GOOD
    for line in ("  pollingInterval: 2", "  cooldownPeriod: 20", "  minReplicaCount: 1", "  maxReplicaCount: 4"):
        silent = silent.replace(f"{line}\n", "")
    silent = silent.replace("          stabilizationWindowSeconds: 30\n", "")
    silent = silent.replace("      terminationGracePeriodSeconds: 40\n", "")
    (workload,) = read_manifest(write(tmp_path, silent))
    rule = workload.rule
    assert (rule.polling_interval_s, rule.cooldown_s, rule.min_replicas, rule.max_replicas) == (30.0, 300.0, 0, 100)
    assert workload.grace_s == 30.0
    assert rule.down.stabilization_s == 300.0
    assert "no scaleDown.stabilizationWindowSeconds" in workload.notes[0]


def test_http_can_exclude_unacknowledged_messages(tmp_path: Path) -> None:
    text = GOOD.replace("{protocol: http,", '{protocol: http, excludeUnacknowledged: "true",')
    (workload,) = read_manifest(write(tmp_path, text))
    assert not workload.rule.triggers[1].counts_unacked


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  pollingInterval: 2", "  pollingIntervall: 2", "spec: 'pollingIntervall' is not honoured"),
        ("  pollingInterval: 2", "  pollingInterval: often", "spec.pollingInterval: expected `int`, got `str`"),
        ("  pollingInterval: 2", "  pollingInterval: 0", "pollingInterval must be at least 1 s, got 0"),
        ("  cooldownPeriod: 20", "  cooldownPeriod: -1", "cooldownPeriod must be at least 0 s, got -1"),
        ("  minReplicaCount: 1", "  minReplicaCount: 9", "minReplicaCount must be in 0..maxReplicaCount"),
        ("  minReplicaCount: 1", "  fallback: {replicas: 1}", "spec: 'fallback' is not honoured on one machine"),
        ("  minReplicaCount: 1", "  idleReplicaCount: 0", "spec: 'idleReplicaCount' is not honoured"),
        ("type: rabbitmq", "type: kafka", "trigger type 'kafka': not available on one machine: use rabbitmq"),
        ("protocol: amqp", "protocol: auto", "protocol must be amqp (waiting) or http"),
        ("mode: QueueLength", "mode: MessageRate", "mode MessageRate needs protocol http, got 'amqp'"),
        ("mode: QueueLength", "mode: DeliverGetRate", "mode must be QueueLength or MessageRate, got 'DeliverGetRate'"),
        ('value: "20"', 'value: "many"', "value must be a number such as \"20\", got 'many'"),
        ('value: "20"', 'value: "0"', "value must be above 0, got '0'"),
        ('value: "20"', "value: 20", "expected `str`, got `int`"),
        ("queueName: captioned.post", "queueName: Post!", "queueName: queue name must be"),
        ("queueName: captioned.post, ", "", "'queueName' is missing: add it"),
        ("[python, -m, functions, notify.post]", "[sh, -c, post]", "command must be [python, -m, functions, TARGET]"),
        ("kind: Deployment", "kind: StatefulSet", "scaleTargetRef 'post': no such Deployment in this file"),
        ("kind: ScaledObject", "kind: ScaledJob", "ScaledJob: one machine runs only ScaledObjects"),
        ("type: Pods", "type: Nodes", "invalid enum value 'Nodes'"),
        ("Seconds: 30", "Seconds: 9000", "scaleDown: stabilizationWindowSeconds must be in 0..3600, got 9000"),
        ("value: 1, periodSeconds: 60", "value: 0, periodSeconds: 60", "scaleDown policy needs a value above 0"),
        ("kind: ScaledObject", "kind: [", "not YAML in line"),
        ("metadata: {name: post}\nspec:\n  scale", "metadata: {name: post, annotations: {autoscaling.keda.sh/paused: "
         '"true"}}\nspec:\n  scale', "annotation autoscaling.keda.sh/paused"),
    ],
)  # fmt: skip
def test_unsupported_manifest_is_refused_in_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_files_without_a_scaled_object_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "authentication.yaml").write_text("kind: TriggerAuthentication\nmetadata: {name: x}\n")
    (tmp_path / "empty.yaml").write_text("# nothing here\n")
    assert [w.name for w in read_workloads(tmp_path)] == ["post"]


def test_two_files_for_one_workload_are_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "again.yaml").write_text(GOOD)
    with pytest.raises(ManifestError, match=r"'post' is already in .*again\.yaml: rename or remove one of them"):
        read_workloads(tmp_path)


def test_folder_without_workloads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no file has a ScaledObject"):
        read_workloads(tmp_path)
