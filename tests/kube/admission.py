"""What the double's API server refuses before it records: quotas, Pod Security, rights."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from tests.kube.store import Object, StatusError, Store, is_over, quantity, requests_of


class Admission:
    """Quota, priority and Pod Security admission over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.admission += [self._set_priority, self._check_security, self._check_quota]

    def _set_priority(self, plural: str, given: Object, before: Object | None) -> None:
        if plural != "pods" or before is not None:
            return
        name = given["spec"].get("priorityClassName")
        if name and (found := self._store.find("priorityclasses", "", name)) is None:
            raise StatusError(403, "Forbidden", f"pods is forbidden: no PriorityClass with name {name} was found")
        given["spec"]["priority"] = found["value"] if name and found else 0

    def _check_security(self, plural: str, given: Object, before: Object | None) -> None:
        if plural != "pods" or before is not None:
            return
        namespace = self._store.find("namespaces", "", given["metadata"]["namespace"])
        if namespace is None:
            raise StatusError(404, "NotFound", f'namespaces "{given["metadata"]["namespace"]}" not found')
        labels = namespace["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") == "restricted" and (wrong := list(_insecure(given))):
            raise StatusError(
                403, "Forbidden",
                f'pods "{given["metadata"]["name"]}" is forbidden: violates PodSecurity "restricted:latest": '
                f"{', '.join(wrong)}",
            )  # fmt: skip

    def _check_quota(self, plural: str, given: Object, before: Object | None) -> None:
        if before is not None:
            return
        namespace, name = given["metadata"].get("namespace", ""), given["metadata"]["name"]
        for quota in self._store.all("resourcequotas", namespace or "-"):
            hard = {k: v for k, v in quota["spec"]["hard"].items() if counts_for(k, plural)}
            if not hard or not in_scope(quota, given):
                continue
            need = usage(plural, [given], hard)
            for missing in (k for k in hard if k.partition(".")[2] in ("cpu", "memory") and k not in need):
                raise StatusError(
                    403, "Forbidden", f'{plural} "{name}" is forbidden: failed quota: must specify {missing}'
                )
            used = usage(plural, self._store.all(plural, namespace, partial(in_scope, quota)), hard)
            over = [k for k, limit in hard.items() if used.get(k, 0) + need.get(k, 0) > quantity(limit) + 1e-9]
            if over:
                raise StatusError(
                    403, "Forbidden",
                    f'{plural} "{name}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, requested: '
                    f"{','.join(f'{k}={need[k]:g}' for k in over)}, used: "
                    f"{','.join(f'{k}={used.get(k, 0):g}' for k in over)}, limited: "
                    f"{','.join(f'{k}={hard[k]}' for k in over)}",
                )  # fmt: skip


def in_scope(quota: Object, one: Object) -> bool:
    """Whether a quota is about an object, by its priority class."""
    expressions = quota["spec"].get("scopeSelector", {}).get("matchExpressions", [])
    return all(one.get("spec", {}).get("priorityClassName") in e["values"] for e in expressions)


def counts_for(resource: str, plural: str) -> bool:
    """Whether a resource of a quota is about objects of that plural."""
    if plural == "pods":
        return resource in ("pods", "count/pods") or resource.startswith(("requests.", "limits."))
    return resource == f"count/{plural}"


def usage(plural: str, objects: Iterable[Object], hard: Iterable[str]) -> dict[str, float]:
    """What objects use of each resource of a quota."""
    used: dict[str, float] = {}
    for one in objects:
        if plural == "pods" and is_over(one):
            continue
        for resource in hard:
            if "/" in resource or resource == "pods":
                used[resource] = used.get(resource, 0) + 1
                continue
            side, _, name = resource.partition(".")
            amounts = requests_of(one) if side == "requests" else _limits(one)
            if name in amounts:
                used[resource] = used.get(resource, 0) + amounts[name]
    return used


def is_allowed(store: Store, account: str, *, verb: str, group: str, resource: str, namespace: str, name: str) -> bool:
    """Whether the roles that are bound to `namespace:name` of a service account say so."""
    for binding_plural, its_namespace in (("rolebindings", namespace or "-"), ("clusterrolebindings", "")):
        for binding in store.all(binding_plural, its_namespace):
            subjects = (f"{s.get('namespace')}:{s['name']}" for s in binding.get("subjects", []))
            if account not in subjects:
                continue
            kind = binding["roleRef"]["kind"]
            role = store.find(
                "roles" if kind == "Role" else "clusterroles",
                namespace if kind == "Role" else "",
                binding["roleRef"]["name"],
            )
            if role and any(_covers(rule, verb, group, resource, name) for rule in role.get("rules", [])):
                return True
    return False


def _covers(rule: Object, verb: str, group: str, resource: str, name: str) -> bool:
    names = rule.get("resourceNames")
    return (
        _has(rule["verbs"], verb) and _has(rule["apiGroups"], group) and _has(rule["resources"], resource)
        and (not names or name in names)
    )  # fmt: skip


def _has(listed: list[str], wanted: str) -> bool:
    return wanted in listed or "*" in listed


def _limits(pod: Object) -> dict[str, float]:
    total: dict[str, float] = {}
    for container in pod["spec"]["containers"]:
        for name, amount in container.get("resources", {}).get("limits", {}).items():
            total[name] = total.get(name, 0.0) + quantity(amount)
    return total


def _insecure(pod: Object) -> Iterable[str]:
    spec: dict[str, Any] = pod["spec"]
    whole = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    if any("hostPath" in volume for volume in spec.get("volumes", [])):
        yield "hostPath volumes"
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation != false"
        if "ALL" not in own.get("capabilities", {}).get("drop", []):
            yield "unrestricted capabilities"
        if not (own.get("runAsNonRoot") or whole.get("runAsNonRoot")):
            yield "runAsNonRoot != true"
        profile = own.get("seccompProfile") or whole.get("seccompProfile") or {}
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccompProfile"
