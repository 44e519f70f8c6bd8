"""What the API tells of the fleet, from the records of web/fleet.py: shapes of `schemas_fleet.py`."""

from __future__ import annotations

from typing import Any

import msgspec

from api.schemas_fleet import Audit, Deployment, Deployments, Models, Node, Nodes
from web.fleet import DeploymentStatus, FleetStatus, ModelStatus, NodeStatus

_MEASURES = ("sampled_at", "cpu", "memory", "disk", "temperature", "gpu_used", "latency_s", "drift_s")
"""What is another number with each sample: the stream leaves those out."""


def nodes(status: FleetStatus) -> Nodes:
    """All nodes as a FeatureCollection."""
    return {"type": "FeatureCollection", "features": [node_feature(node) for node in status.nodes]}


def node_feature(node: NodeStatus) -> Node:
    """A node as a Feature."""
    view: dict[str, Any] = msgspec.to_builtins(node)
    lat, lon = view.pop("lat"), view.pop("lon")
    where: Any = None if lat is None or lon is None else {"type": "Point", "coordinates": [lon, lat]}
    properties: Any = {"id": view.pop("name"), **view}
    return {"type": "Feature", "id": node.name, "geometry": where, "properties": properties}


def gone_node(name: str) -> dict[str, Any]:
    """A node that is no longer there, as the stream tells of it."""
    return {"type": "Feature", "id": name, "geometry": None, "properties": None}


def without_measures(node: NodeStatus) -> dict[str, Any]:
    """What of a node is worth telling when it changes."""
    return {name: value for name, value in msgspec.structs.asdict(node).items() if name not in _MEASURES}


def models(status: FleetStatus) -> Models:
    """All models."""
    return {"models": [model_view(model) for model in status.models]}


def model_view(model: ModelStatus) -> Any:
    """One model with its versions, newest first."""
    view = msgspec.to_builtins(model)
    view["versions"].reverse()
    return view


def deployments(status: FleetStatus, *, is_operator: bool) -> Deployments:
    """All deployments, newest first."""
    return {"deployments": [deployment_view(one, is_operator=is_operator) for one in status.deployments]}


def deployment_view(deployment: DeploymentStatus, *, is_operator: bool) -> Deployment:
    """One deployment; names of users and reasons, which may hold addresses, are for operators."""
    view: dict[str, Any] = msgspec.to_builtins(deployment)
    if not is_operator:
        del view["by"], view["reason"]
        for node in view["nodes"]:
            del node["error"]
    return view  # type: ignore[return-value]


def audit(status: FleetStatus) -> Audit:
    """The audit log's newest entries."""
    return {"entries": msgspec.to_builtins(status.audit)}
