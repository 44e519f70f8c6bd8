"""A cluster's capacity for workers, from its quotas and nodes; the Kubernetes backend shows it to operators."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import NodeSelectorRequirement
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Node, Pod, ResourceQuota

from sessions.pods import GPU
from sessions.records import Capacity

_UNITS = {
    **{"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18},
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][-+]?[0-9]+)?)([a-zA-Z]*)")


@dataclass(frozen=True, slots=True)
class Classes:
    """Hardware classes from the affinity of the workers' template.

    Attributes:
        label: the nodes' label.
        weights: of the preferred classes.
        never: classes on which workers never run.
    """

    label: str
    weights: Mapping[str, int]
    never: frozenset[str]

    @classmethod
    def of(cls, template: Deployment | None, label: str) -> Classes:
        """Read them from a Deployment of workers."""
        spec = template.spec.template.spec if template is not None and template.spec is not None else None
        affinity = spec.affinity.nodeAffinity if spec is not None and spec.affinity is not None else None
        if affinity is None:
            return cls(label, {}, frozenset())
        weights: dict[str, int] = {}
        for preferred in affinity.preferredDuringSchedulingIgnoredDuringExecution or []:
            for value in _values(preferred.preference.matchExpressions, label, "In"):
                weights[value] = preferred.weight
        required = affinity.requiredDuringSchedulingIgnoredDuringExecution
        terms = required.nodeSelectorTerms if required is not None else []
        never = (set(_values(term.matchExpressions, label, "NotIn")) for term in terms)
        return cls(label, weights, frozenset(set.intersection(*found) if (found := list(never)) else ()))


def measure(
    name: str, quotas: Sequence[ResourceQuota], nodes: Sequence[Node], running: Sequence[Pod], classes: Classes
) -> Capacity:
    """Total and used capacity: of the quota if one limits requests, else of the nodes.

    Args:
        name: the cluster's name for operators.
        quotas: of the namespace.
        nodes: of the cluster.
        running: workers that have a node.
        classes: the workers' preferences.
    """
    usable = [
        n for n in nodes if not (n.spec and n.spec.unschedulable) and _class_of(n, classes.label) not in classes.never
    ]
    labelled = {found for n in usable if (found := _class_of(n, classes.label))}
    room, used = _of_nodes(usable), _of_pods(running)
    for quota in quotas:
        status = quota.status
        for resource in ("cpu", "memory"):
            limit = ((status and status.hard) or {}).get(f"requests.{resource}")
            if limit is not None and quantity(limit) < room[resource]:
                room[resource] = quantity(limit)
                used[resource] = quantity(((status and status.used) or {}).get(f"requests.{resource}", "0"))
    return Capacity(
        node=name,
        cores=room["cpu"],
        memory_mb=room["memory"] / 1e6,
        used_cores=used["cpu"],
        used_memory_mb=used["memory"] / 1e6,
        classes=tuple(sorted(labelled, key=lambda c: (-classes.weights.get(c, 0), c))),
        has_gpu=any(quantity(_allocatable(n).get(GPU, "0")) > 0 for n in usable),
    )


def quantity(text: str) -> float:
    """The number of a Kubernetes quantity such as `500m` or `64Mi`.

    Raises:
        ValueError: it is not a quantity.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"not a quantity of Kubernetes: {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def _of_nodes(nodes: Iterable[Node]) -> dict[str, float]:
    room = {"cpu": 0.0, "memory": 0.0}
    for node in nodes:
        for resource in room:
            room[resource] += quantity(_allocatable(node).get(resource, "0"))
    return room


def _of_pods(pods: Iterable[Pod]) -> dict[str, float]:
    used = {"cpu": 0.0, "memory": 0.0}
    for pod in pods:
        for container in pod.spec.containers if pod.spec is not None else []:
            requests = (container.resources and container.resources.requests) or {}
            for resource in used:
                used[resource] += quantity(requests.get(resource, "0"))
    return used


def _allocatable(node: Node) -> dict[str, str]:
    return (node.status and node.status.allocatable) or {}


def _class_of(node: Node, label: str) -> str:
    return str(((node.metadata and node.metadata.labels) or {}).get(label, ""))


def _values(expressions: Sequence[NodeSelectorRequirement] | None, label: str, operator: str) -> list[str]:
    return [v for e in expressions or [] if e.key == label and e.operator == operator for v in e.values or []]
