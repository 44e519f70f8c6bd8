"""Workers as Kubernetes pods, one for each, from the template of their kind's Deployment.

The Deployment is the warm pool: its idle pods carry the label `bongsu/pool`. A claim takes a pod out of it by removing
that label and making the session its owner, in one patch; the Deployment then starts another.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from lightkube.models.core_v1 import ContainerStatus, PodSpec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod
from msgspec import to_builtins

from sessions.catalogue import KINDS, resolve
from sessions.records import BackendError, Session, Worker, WorkerState

WORKER_LABEL, KIND_LABEL, POOL_LABEL = "bongsu/worker", "bongsu/kind", "bongsu/pool"
WORKER_LABELS = {WORKER_LABEL: "session"}
GPU = "nvidia.com/gpu"
_SESSION, _MODEL, _RESTARTS = "bongsu/session", "bongsu/model", "bongsu/restarts"
_PRIORITY = "bongsu-session"
_PORT = 8091


def is_idle(pod: Pod) -> bool:
    """Whether it is in the warm pool and may be claimed."""
    meta = _meta(pod)
    return not _annotation(pod, _SESSION) and meta.deletionTimestamp is None


def kind_name(pod: Pod) -> str:
    """The kind of session, from its label."""
    return str((_meta(pod).labels or {}).get(KIND_LABEL, ""))


def is_gated(pod: Pod) -> bool:
    """Whether it is a pod of the warm pool that must not be scheduled yet."""
    gates = (pod.spec and pod.spec.schedulingGates) or []
    return is_idle(pod) and any(gate.name == POOL_LABEL for gate in gates)


def lift_gate_patch(pod: Pod) -> dict[str, Any]:
    """The merge patch that removes our scheduling gate from a pod; gates of others, such as Kueue's, stay."""
    gates = (pod.spec and pod.spec.schedulingGates) or []
    kept = [{"name": gate.name} for gate in gates if gate.name != POOL_LABEL]
    return {"metadata": {"resourceVersion": _meta(pod).resourceVersion}, "spec": {"schedulingGates": kept or None}}


def is_scheduled(pod: Pod) -> bool:
    """Whether it has been assigned to a node."""
    return bool(pod.spec and pod.spec.nodeName)


def why_waiting(pod: Pod) -> str:
    """The scheduler's reason for a pod that fits on no node; empty before it has tried."""
    for condition in (pod.status and pod.status.conditions) or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.message or condition.reason or "not scheduled"
    return ""


def session_of(pod: Pod) -> str:
    """The id of its session; empty in the warm pool."""
    return _annotation(pod, _SESSION)


def to_worker(pod: Pod, classes: tuple[str, ...]) -> Worker | None:
    """The worker in a pod; None while it has no node, or if an idle one is about to end.

    Args:
        pod: from the API server.
        classes: hardware classes of its node.
    """
    meta, spec, status = _meta(pod), pod.spec, pod.status
    if spec is None or not spec.nodeName or (not (session := session_of(pod)) and not is_idle(pod)):
        return None
    if (kind := kind_name(pod)) not in KINDS:
        return None
    address = status.podIP if status is not None and status.podIP else ""
    limits = spec.containers[0].resources.limits if spec.containers[0].resources else None
    return Worker(
        name=meta.name or "",
        kind=kind,
        model=_annotation(pod, _MODEL) or resolve(kind),
        node=spec.nodeName,
        address=f"tcp:{address}:{_PORT}" if address else "",
        started_at=meta.creationTimestamp or datetime.now(UTC),
        state=_state(pod),
        session=session,
        classes=classes,
        has_gpu=GPU in (limits or {}),
        version=int(meta.resourceVersion or 0),
    )


def claim_patch(pod: Pod, session_id: str, owner: OwnerReference | None) -> dict[str, Any]:
    """The merge patch that takes an idle pod out of the pool if it has not changed; without an owner it would end."""
    return {
        "metadata": {
            "resourceVersion": _meta(pod).resourceVersion,
            "labels": {POOL_LABEL: None},
            # A container that ends later is restarted in place; this distinguishes that from earlier restarts.
            "annotations": {_SESSION: session_id, _RESTARTS: str(_restarts(pod))},
            "ownerReferences": [to_builtins(owner)] if owner is not None else None,
        }
    }


def pod_for(session: Session, name: str, template: Deployment, owner: OwnerReference, class_label: str) -> Pod:
    """A pod for one session, as its kind's Deployment would make it, on a node that meets the session's needs."""
    assert template.spec is not None
    made, labels = template.spec.template, dict((template.spec.template.metadata or ObjectMeta()).labels or {})
    labels.pop(POOL_LABEL, None)
    spec: PodSpec = copy.deepcopy(made.spec)  # type: ignore[assignment]
    container = spec.containers[0]
    container.args = [*(container.args or []), f"--model={session.model}"]
    spec.restartPolicy = "Never"
    spec.schedulingGates = [gate for gate in spec.schedulingGates or [] if gate.name != POOL_LABEL] or None
    # With priority over the pool's, because a client waits for it.
    spec.priorityClassName, spec.priority, spec.preemptionPolicy = _PRIORITY, None, None
    if session.node_class:
        spec.nodeSelector = {**(spec.nodeSelector or {}), class_label: session.node_class}
    if session.gpu and container.resources is not None:
        container.resources.limits = {**(container.resources.limits or {}), GPU: "1"}
    annotations = {**((made.metadata and made.metadata.annotations) or {}), _SESSION: session.id, _MODEL: session.model}
    return Pod(
        metadata=ObjectMeta(name=name, labels=labels, annotations=annotations, ownerReferences=[owner]), spec=spec
    )


def kind_of(template: Deployment) -> str:
    """The kind of a Deployment's workers.

    Raises:
        BackendError: it has no such label.
    """
    meta = template.metadata
    if meta is None or not (kind := str((meta.labels or {}).get(KIND_LABEL, ""))):
        raise BackendError(f"deployment {meta and meta.name} has no label {KIND_LABEL}: see k8s/sessions/workers.yaml")
    return kind


def _state(pod: Pod) -> WorkerState:
    status = pod.status
    if _meta(pod).deletionTimestamp is not None:
        return "leaving"
    if status is None:
        return "starting"
    if status.phase in ("Succeeded", "Failed"):
        return "ended" if status.phase == "Succeeded" else "failed"
    container = _container(pod)
    if session_of(pod) and container is not None and container.restartCount > int(_annotation(pod, _RESTARTS) or 0):
        last = container.lastState.terminated if container.lastState else None
        return "ended" if last is not None and last.exitCode == 0 else "failed"
    is_ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions or [])
    return "ready" if is_ready else "starting"


def _restarts(pod: Pod) -> int:
    container = _container(pod)
    return container.restartCount if container is not None else 0


def _container(pod: Pod) -> ContainerStatus | None:
    found = pod.status.containerStatuses if pod.status is not None else None
    return found[0] if found else None


def _annotation(pod: Pod, name: str) -> str:
    return str((_meta(pod).annotations or {}).get(name, ""))


def _meta(pod: Pod) -> ObjectMeta:
    assert pod.metadata is not None
    return pod.metadata
