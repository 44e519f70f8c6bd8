"""What makes a cluster of the double's store: scheduler, ReplicaSets, garbage collection, quota's status."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.kube.admission import counts_for, in_scope, usage
from tests.kube.store import Object, StatusError, Store, is_over, quantity, requests_of

_RETRY_S = 1.0


class Controllers:
    """Run after each change, in turn, until nothing is left to do."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """For as long as the cluster lives."""
        changes = self._store.subscribe()
        while True:
            self.step()
            try:
                async with asyncio.timeout(_RETRY_S):
                    await changes.get()
            except TimeoutError:
                continue
            # As real controllers, they see what has happened meanwhile as one.
            await asyncio.sleep(0.005)
            while not changes.empty():
                changes.get_nowait()

    def step(self) -> None:
        for deployment in list(self._store.all("deployments")):
            self._roll_out(deployment)
        for replica_set in list(self._store.all("replicasets")):
            self._replicate(replica_set)
        self._collect_garbage()
        self._schedule()
        self._count_quotas()

    def _roll_out(self, deployment: Object) -> None:
        """One ReplicaSet for each template; all of the old one's pods go at once."""
        meta, template = deployment["metadata"], deployment["spec"]["template"]
        digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:9]
        name, namespace = f"{meta['name']}-{digest}", meta["namespace"]
        for old in self._store.all("replicasets", namespace, lambda o: _owner(o) == meta["uid"]):
            replicas = deployment["spec"].get("replicas", 1) if old["metadata"]["name"] == name else 0
            self._store.patch("replicasets", namespace, old["metadata"]["name"], {"spec": {"replicas": replicas}})
        if self._store.find("replicasets", namespace, name) is not None:
            return
        labels = {**template["metadata"].get("labels", {}), "pod-template-hash": digest}
        labelled = {**copy.deepcopy(template), "metadata": {**template["metadata"], "labels": labels}}
        match = {**deployment["spec"]["selector"]["matchLabels"], "pod-template-hash": digest}
        self._store.create("replicasets", namespace, {
            "metadata": {"name": name, "labels": labels, "ownerReferences": [_reference("Deployment", deployment)]},
            "spec": {
                "replicas": deployment["spec"].get("replicas", 1),
                "selector": {"matchLabels": match}, "template": labelled,
            },
        })  # fmt: skip

    def _replicate(self, replica_set: Object) -> None:
        meta, spec = replica_set["metadata"], replica_set["spec"]
        own = []
        for pod in list(self._store.all("pods", meta["namespace"])):
            is_mine, matches = _owner(pod) == meta["uid"], _matches(pod, spec["selector"]["matchLabels"])
            if is_mine and not matches:
                self._store.patch(
                    "pods", meta["namespace"], pod["metadata"]["name"], {"metadata": {"ownerReferences": None}}
                )
            elif is_mine and not is_over(pod) and "deletionTimestamp" not in pod["metadata"]:
                own.append(pod)
        for _ in range(spec["replicas"] - len(own)):
            template = spec["template"]
            made = {"metadata": {**copy.deepcopy(template["metadata"])}, "spec": copy.deepcopy(template["spec"])}
            made["metadata"] |= {
                "generateName": f"{meta['name']}-",
                "ownerReferences": [_reference("ReplicaSet", replica_set)],
            }
            try:
                self._store.create("pods", meta["namespace"], made)
            except StatusError:
                return
        # Those that are not ready go first.
        own.sort(key=lambda pod: (is_ready(pod), pod["metadata"]["name"]))
        for pod in own[: max(0, len(own) - spec["replicas"])]:
            self._store.delete("pods", meta["namespace"], pod["metadata"]["name"])

    def _collect_garbage(self) -> None:
        plurals = ("pods", "secrets", "configmaps", "replicasets", "deployments", "leases")
        uids = {o["metadata"]["uid"] for plural in plurals for o in self._store.all(plural)}
        for plural in ("pods", "secrets", "configmaps", "replicasets", "leases"):
            for one in list(self._store.all(plural)):
                owners = one["metadata"].get("ownerReferences") or []
                if owners and not any(owner["uid"] in uids for owner in owners):
                    self._store.delete(plural, one["metadata"]["namespace"], one["metadata"]["name"])

    def _schedule(self) -> None:
        """Bind what fits; of those that wait, the highest priority first, then the oldest. It preempts nothing."""
        waiting = [p for p in self._store.all("pods") if not p["spec"].get("nodeName") and not is_over(p)]
        waiting.sort(
            key=lambda p: (-p["spec"].get("priority", 0), p["metadata"]["creationTimestamp"], p["metadata"]["name"])
        )
        for pod in waiting:
            meta = pod["metadata"]
            if pod["spec"].get("schedulingGates"):
                self._condition(
                    pod, "False", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"
                )
                continue
            nodes = list(self._store.all("nodes"))
            why = {node["metadata"]["name"]: self._why_not(pod, node) for node in nodes}
            fitting = [node for node in nodes if not why[node["metadata"]["name"]]]
            if not fitting:
                reasons = sorted(set(why.values()))
                self._condition(
                    pod,
                    "False",
                    "Unschedulable",
                    f"0/{len(nodes)} nodes are available: {', '.join(reasons) or 'no nodes'}.",
                )
                continue
            best = max(fitting, key=lambda node: (_preference(pod, node), -len(list(self._pods_on(node)))))
            bound = {**copy.deepcopy(pod), "spec": {**pod["spec"], "nodeName": best["metadata"]["name"]}}
            self._store.update("pods", meta["namespace"], meta["name"], bound, "binding")
            self._condition(self._store.get("pods", meta["namespace"], meta["name"]), "True", "", "")

    def _why_not(self, pod: Object, node: Object) -> str:
        spec, labels = pod["spec"], node["metadata"].get("labels", {})
        if node["spec"].get("unschedulable"):
            return "node(s) were unschedulable"
        required = (
            spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
        )
        terms = required.get("nodeSelectorTerms", [])
        if not _matches(node, spec.get("nodeSelector", {})) or (terms and not any(_term(t, labels) for t in terms)):
            return "node(s) didn't match Pod's node affinity/selector"
        used: dict[str, float] = {}
        for other in self._pods_on(node):
            for name, amount in requests_of(other).items():
                used[name] = used.get(name, 0) + amount
        room = node["status"]["allocatable"]
        for name, amount in requests_of(pod).items():
            if used.get(name, 0) + amount > quantity(room.get(name, 0)) + 1e-9:
                return f"Insufficient {name}"
        return ""

    def _pods_on(self, node: Object) -> Iterator[Object]:
        name = node["metadata"]["name"]
        return self._store.all("pods", "", lambda p: p["spec"].get("nodeName") == name and not is_over(p))

    def _condition(self, pod: Object, status: str, reason: str, message: str) -> None:
        condition = {
            "type": "PodScheduled",
            "status": status,
            **({"reason": reason, "message": message} if reason else {}),
        }
        others = [c for c in pod.get("status", {}).get("conditions", []) if c["type"] != "PodScheduled"]
        wanted = {"phase": "Pending", **pod.get("status", {}), "conditions": [*others, condition]}
        self._store.patch("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], {"status": wanted}, "status")

    def _count_quotas(self) -> None:
        for quota in list(self._store.all("resourcequotas")):
            meta, hard, used = quota["metadata"], quota["spec"]["hard"], {}
            for plural in ("pods", "secrets", "configmaps"):
                of_it = [k for k in hard if counts_for(k, plural)]
                used |= usage(plural, self._store.all(plural, meta["namespace"], partial(in_scope, quota)), of_it)
            status = {"hard": hard, "used": {k: f"{used.get(k, 0):g}" for k in hard}}
            self._store.patch("resourcequotas", meta["namespace"], meta["name"], {"status": status}, "status")


def is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def _owner(one: Object) -> str:
    owners = one["metadata"].get("ownerReferences") or []
    return next((str(o["uid"]) for o in owners if o.get("controller")), "")


def _reference(kind: str, owner: Object) -> Object:
    meta = owner["metadata"]
    return {"apiVersion": "apps/v1", "kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}


def _matches(one: Object, labels: dict[str, str]) -> bool:
    own = one["metadata"].get("labels", {})
    return all(own.get(key) == value for key, value in labels.items())


def _term(term: Object, labels: dict[str, str]) -> bool:
    return all(_expression(e, labels) for e in term.get("matchExpressions", []))


def _expression(expression: Object, labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", [])
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _preference(pod: Object, node: Object) -> int:
    affinity: Any = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    labels = node["metadata"].get("labels", {})
    return sum(p["weight"] for p in preferred if _term(p["preference"], labels))
