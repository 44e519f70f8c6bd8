"""What a cluster says of its nodes, through kubectl, which knows how the operator signs in."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from edge.errors import FleetError
from edge.facts import Facts

_KUBECTL_S = 30
_REVOKED = {"key": "bongsu.org/revoked", "value": "yes", "effect": "NoExecute"}


def read_facts(name: str) -> Facts:
    """What a node of the cluster is.

    Raises:
        FleetError: there is no kubectl, or no such node.
    """
    described = _node(name)
    try:
        info, capacity = described["status"]["nodeInfo"], described["status"]["capacity"]
        return Facts(
            architecture=info["architecture"],
            cpus=int(quantity(capacity["cpu"])),
            memory_bytes=int(quantity(capacity["memory"])),
            disk_bytes=int(quantity(capacity.get("ephemeral-storage", "0"))),
            disk_free_bytes=0,
            system=info["osImage"],
            kernel=info["kernelVersion"],
            gpu=f"{capacity['nvidia.com/gpu']} nvidia.com/gpu" if "nvidia.com/gpu" in capacity else "",
            container_runtime=info["containerRuntimeVersion"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise FleetError(f"the cluster describes node {name!r} without {error}") from None


def check_ready(name: str) -> None:
    """Whether the cluster hears of a node.

    Raises:
        FleetError: it is not ready, and why; or nobody can say.
    """
    conditions = _node(name).get("status", {}).get("conditions", [])
    ready: dict[str, Any] = next((one for one in conditions if one.get("type") == "Ready"), {})
    if ready.get("status") != "True":
        why = str(ready.get("message") or ready.get("reason") or "the cluster has not heard of it")[:300]
        raise FleetError(f"node {name!r} is not ready: {why}")


def shut_out(name: str) -> None:
    """Let nothing run on a node of the cluster any more: no new pod is placed there, and those that run are evicted.

    Raises:
        FleetError: there is no kubectl, or it may not change nodes.
    """
    described = _node(name)
    spec = described.setdefault("spec", {})
    others = [taint for taint in spec.get("taints", []) if taint.get("key") != _REVOKED["key"]]
    spec |= {"unschedulable": True, "taints": [*others, _REVOKED]}
    # With the version that was read: if somebody changed the node meanwhile, the cluster refuses, and says so.
    _kubectl(name, "replace", "--raw", f"/api/v1/nodes/{name}", "-f", "-", content=json.dumps(described).encode())


def quantity(given: str) -> float:
    """A quantity of Kubernetes as a number: `16Gi`, `3900m`, `4`.

    Raises:
        ValueError: it is of another form.
    """
    units = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    for unit, factor in {**units, "m": 1e-3}.items():
        if given.endswith(unit):
            return float(given.removesuffix(unit)) * factor
    return float(given)


def _node(name: str) -> dict[str, Any]:
    # Not `get node`: that first asks the cluster for everything it has.
    answer = _kubectl(name, "get", "--raw", f"/api/v1/nodes/{name}")
    try:
        described = json.loads(answer)
    except ValueError:
        described = None
    if not isinstance(described, dict):
        raise FleetError(f"node {name!r}: the cluster answered with what is not a node: {answer[:80]!r}")
    return described


def _kubectl(name: str, *arguments: str, content: bytes = b"") -> bytes:
    if shutil.which("kubectl") is None:
        raise FleetError("kubectl is not installed here, and a cluster's nodes are reached with it")
    try:
        done = subprocess.run(
            ["kubectl", *arguments], input=content, capture_output=True, timeout=_KUBECTL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise FleetError(f"the cluster did not answer kubectl in {_KUBECTL_S} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        raise FleetError(f"node {name!r}: kubectl: {said[-1][:300]}")
    return done.stdout
