"""Reads `keda/*.yaml`, the files that a cluster gets too, as workloads that one machine runs as processes.

A field that processes cannot honour is refused by name, so that one machine never silently differs from the cluster.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from functions.topology import queue
from local.manifest_schema import Deployment, RabbitMetadata, ScaledObject, ScaledObjectSpec, ScaleSpec, TriggerSpec
from local.rules import DEFAULT_DOWN, DEFAULT_UP, Policy, Rule, ScalingRules, Trigger


class ManifestError(ValueError):
    """A manifest cannot be honoured on one machine; one line with the file, the value and the fix."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One function as its manifest describes it."""

    name: str
    target: str
    """What `python -m functions` runs: a module such as `notify.post`, or a path to a .py file."""
    rule: Rule
    grace_s: float
    env: Mapping[str, str]
    notes: tuple[str, ...] = ()
    """Unset fields whose default may surprise, in one line each."""


def read_workloads(folder: Path) -> list[Workload]:
    """Read every manifest of a folder that has a ScaledObject, ordered by file name; other files are skipped.

    Raises:
        ManifestError: the folder has none, or one of them cannot be honoured.
    """
    if not folder.is_dir():
        raise ManifestError(f"no folder {str(folder)!r}: name the folder of the scaled workloads with --keda")
    workloads: dict[str, tuple[Path, Workload]] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        for workload in read_manifest(path):
            if workload.name in workloads:
                other = workloads[workload.name][0]
                raise ManifestError(f"{path}: {workload.name!r} is already in {other}: rename or remove one of them")
            workloads[workload.name] = (path, workload)
    if not workloads:
        raise ManifestError(f"{folder}: no file has a ScaledObject: `bongsu function new` writes one")
    return [workload for _, workload in workloads.values()]


def read_manifest(path: Path) -> list[Workload]:
    """Read the workloads of one file: each ScaledObject with its Deployment; empty if it has no ScaledObject.

    Raises:
        ManifestError: not YAML, or something that processes cannot honour.
    """
    try:
        documents = [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if d is not None]
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ManifestError(f"{path}: not YAML{line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from None
    kinds: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            raise ManifestError(f"{path}: every document needs a `kind`, got {document!r:.60}")
        kinds.setdefault(document["kind"], []).append(document)
    try:
        deployments = [msgspec.convert(d, Deployment) for d in kinds.get("Deployment", [])]
        return [_workload(scaled, deployments) for scaled in _scaled_objects(kinds)]
    except msgspec.ValidationError as error:
        raise ManifestError(f"{path}: {_explain(str(error))}") from None
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def _scaled_objects(kinds: Mapping[str, list[dict[str, Any]]]) -> list[ScaledObject]:
    if "ScaledJob" in kinds:
        raise ManifestError("ScaledJob: one machine runs only ScaledObjects: make it a Deployment with a ScaledObject")
    return [msgspec.convert(document, ScaledObject) for document in kinds.get("ScaledObject", [])]


def _workload(scaled: ScaledObject, deployments: list[Deployment]) -> Workload:
    spec = scaled.spec
    name = spec.scale_target_ref.name
    paused = [key for key in scaled.metadata.annotations if key.startswith("autoscaling.keda.sh/paused")]
    if paused:
        raise ManifestError(f"annotation {paused[0]}: processes cannot be paused: remove it")
    found = [d for d in deployments if d.metadata.name == name]
    if not found or spec.scale_target_ref.kind != "Deployment":
        raise ManifestError(f"scaleTargetRef {name!r}: no such Deployment in this file: put it beside its ScaledObject")
    pod = found[0].spec.template.spec
    if len(pod.containers) != 1:
        raise ManifestError(f"Deployment {name!r}: needs exactly one container, has {len(pod.containers)}")
    container = pod.containers[0]
    rule = _rule(spec)
    return Workload(
        name=name,
        target=_target([*container.command, *container.args]),
        rule=rule,
        grace_s=pod.termination_grace_period_seconds,
        env={v.name: v.value or "" for v in container.env if v.value_from is None},
        notes=_notes(name, spec),
    )


def _target(command: list[str]) -> str:
    match command:
        case [python, "-m", "functions", target] if re.fullmatch(r"(.*/)?python[0-9.]*", python):
            return target
    raise ManifestError(f"command must be [python, -m, functions, TARGET], got {command}")


def _rule(spec: ScaledObjectSpec) -> Rule:
    if spec.polling_interval < 1:
        raise ManifestError(f"pollingInterval must be at least 1 s, got {spec.polling_interval}")
    if spec.cooldown_period < 0:
        raise ManifestError(f"cooldownPeriod must be at least 0 s, got {spec.cooldown_period}")
    if not 0 <= spec.min_replica_count <= spec.max_replica_count or spec.max_replica_count < 1:
        raise ManifestError(
            f"minReplicaCount must be in 0..maxReplicaCount and that at least 1, "
            f"got {spec.min_replica_count} and {spec.max_replica_count}"
        )
    if not spec.triggers:
        raise ManifestError("triggers: needs at least one of type rabbitmq")
    behavior = spec.advanced.horizontal_pod_autoscaler_config.behavior
    return Rule(
        triggers=tuple(_trigger(trigger) for trigger in spec.triggers),
        min_replicas=spec.min_replica_count,
        max_replicas=spec.max_replica_count,
        polling_interval_s=float(spec.polling_interval),
        cooldown_s=float(spec.cooldown_period),
        up=_scaling_rules("scaleUp", behavior.scale_up, DEFAULT_UP),
        down=_scaling_rules("scaleDown", behavior.scale_down, DEFAULT_DOWN),
    )


def _trigger(trigger: TriggerSpec) -> Trigger:
    if trigger.type != "rabbitmq":
        raise ManifestError(f"trigger type {trigger.type!r}: not available on one machine: use rabbitmq")
    if trigger.metric_type != "AverageValue":
        raise ManifestError(f"metricType {trigger.metric_type!r}: only AverageValue is honoured: remove the line")
    try:
        metadata = msgspec.convert(trigger.metadata, RabbitMetadata)
        queue(metadata.queue_name)
    except msgspec.ValidationError as error:
        raise ManifestError(f"trigger metadata: {_explain(str(error))}") from None
    except ValueError as error:
        raise ManifestError(f"queueName: {error}") from None
    where = f"trigger on {metadata.queue_name}"
    if metadata.protocol not in ("amqp", "http"):
        raise ManifestError(
            f"{where}: protocol must be amqp (waiting) or http (waiting and in work), got {metadata.protocol!r}"
        )
    if metadata.mode not in ("QueueLength", "MessageRate"):
        raise ManifestError(f"{where}: mode must be QueueLength or MessageRate, got {metadata.mode!r}")
    if metadata.mode == "MessageRate" and metadata.protocol != "http":
        raise ManifestError(f"{where}: mode MessageRate needs protocol http, got {metadata.protocol!r}")
    value = _number(f"{where}: value", metadata.value)
    if value <= 0:
        raise ManifestError(f"{where}: value must be above 0, got {metadata.value!r}")
    return Trigger(
        queue=metadata.queue_name,
        value=value,
        activation=_number(f"{where}: activationValue", metadata.activation_value),
        counts_unacked=metadata.protocol == "http" and metadata.exclude_unacknowledged != "true",
        counts_rate=metadata.mode == "MessageRate",
    )


def _scaling_rules(name: str, scale: ScaleSpec, default: ScalingRules) -> ScalingRules:
    policies = default.policies
    if scale.policies is not None:
        policies = tuple(Policy(p.type, p.value, p.period_seconds) for p in scale.policies)
        for policy in policies:
            if policy.value <= 0 or not 0 < policy.period_s <= 1800:
                raise ManifestError(
                    f"{name} policy needs a value above 0 and periodSeconds in 1..1800, "
                    f"got {policy.value} and {policy.period_s:g}"
                )
        if not policies:
            raise ManifestError(f"{name}: policies is empty: remove it to have the default, or list one")
    window_s = scale.stabilization_window_seconds
    if window_s is not None and not 0 <= window_s <= 3600:
        raise ManifestError(f"{name}: stabilizationWindowSeconds must be in 0..3600, got {window_s:g}")
    return ScalingRules(
        stabilization_s=default.stabilization_s if window_s is None else window_s,
        policies=policies,
        select=scale.select_policy,
        tolerance=default.tolerance if scale.tolerance is None else _tolerance(name, scale.tolerance),
    )


def _tolerance(name: str, given: float | str) -> float:
    text = str(given)
    factor = 0.001 if text.endswith("m") else 1.0
    return _number(f"{name}: tolerance", text.removesuffix("m")) * factor


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ManifestError(f'{name} must be a number such as "20", got {text!r}')
    return number


def _notes(name: str, spec: ScaledObjectSpec) -> tuple[str, ...]:
    down = spec.advanced.horizontal_pod_autoscaler_config.behavior.scale_down
    if spec.max_replica_count > 1 and down.stabilization_window_seconds is None:
        return (
            f"{name}: no scaleDown.stabilizationWindowSeconds, so the cluster's default applies: "
            f"surplus replicas stop {DEFAULT_DOWN.stabilization_s:.0f} s after they were last needed",
        )
    return ()


def _explain(problem: str) -> str:
    """Rewrite msgspec's message as: where, what, and the fix."""
    what, _, where = problem.partition(" - at ")
    where = where.strip("`").removeprefix("$.").removeprefix("$") or "the document"
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", what)
    if unknown:
        return f"{where}: {unknown[1]!r} is not honoured on one machine: remove it, or correct its name"
    missing = re.fullmatch(r"Object missing required field `(.+)`", what)
    if missing:
        return f"{where}: {missing[1]!r} is missing: add it"
    return f"{where}: {what[0].lower()}{what[1:]}"
