"""The shapes of what the API answers of the fleet; as `schemas.py`, which has those of the map."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.schemas import Point, Time
from web.fleet import NodeState, Stage

_NODE: dict[str, Any] = {
    "type": "Feature",
    "id": "gate-1",
    "geometry": {"type": "Point", "coordinates": [126.98, 37.57]},
    "properties": {
        "id": "gate-1", "kind": "ssh", "place": "Gate", "region": "Seoul", "architecture": "arm64",
        "system": "Debian GNU/Linux 13", "cpus": 4, "gpu": "", "state": "ok", "alerts": [],
        "sampled_at": "2026-11-22T05:04:10.000Z", "cpu": 0.31, "memory": 0.42, "disk": 0.2, "temperature": 51.0,
        "gpu_used": None, "latency_s": 0.004, "drift_s": 0.01, "cameras": ["gate-1"],
        "models": [
            {"name": "hazard", "version": "2026.11.1", "digest": "sha256:7153…", "at": "2026-11-22T04:00:00.000Z"}
        ],
    },
}  # fmt: skip
_MODEL: dict[str, Any] = {
    "name": "hazard", "task": "detect", "labels": ["accident", "fire", "gun", "knife"],
    "licence": "AGPL-3.0-or-later", "description": "Hazards in pictures of fixed cameras.",
    "versions": [
        {
            "version": "2026.11.1", "digest": "sha256:7153…", "bytes": 16511333, "is_signed": True,
            "nodes": ["gate-1"], "metrics": {"map50": 0.685},
        }
    ],
}  # fmt: skip
_DEPLOYMENT: dict[str, Any] = {
    "id": "20261122T050300000000-1a2b", "action": "deploy", "model": "hazard", "version": "2026.11.1",
    "begun_at": "2026-11-22T05:03:00.000Z", "ended_at": None, "state": "running",
    "nodes": [{"node": "gate-1", "state": "pulling", "done_bytes": 4194304, "total_bytes": 16511333,
               "bursts": 0, "total_bursts": 0}],
}  # fmt: skip
EXAMPLES: dict[str, dict[str, Any]] = {
    "Node": _NODE,
    "Nodes": {"type": "FeatureCollection", "features": [_NODE]},
    "Model": _MODEL,
    "Models": {"models": [_MODEL]},
    "Deployment": _DEPLOYMENT,
    "Deployments": {"deployments": [_DEPLOYMENT]},
    "Audit": {
        "entries": [
            {
                "at": "2026-11-22T05:03:02.000Z", "by": "kim", "action": "model_deployed", "subject": "gate-1",
                "facts": {"model": "hazard", "version": "2026.11.1"},
            }
        ]
    },
}  # fmt: skip
"""By the name of what they show."""

Share = Annotated[float | None, Field(description="Share in use, 0 to 1.")]
Digest = Annotated[str, Field(description="sha256 of the version's manifest.")]


class RunningModel(TypedDict):
    """A model that a node runs."""

    name: str
    version: str
    digest: Digest
    at: Annotated[Time, Field(description="Since when.")]


class NodeProperties(TypedDict):
    """What is known of a node."""

    id: str
    kind: Literal["ssh", "kubernetes", "here"]
    place: str
    region: str
    architecture: str
    system: str
    cpus: int
    gpu: str
    state: NodeState
    alerts: Annotated[list[str], Field(description="What is wrong: NodeDown, NodeHot, NodeDiskFull, NodeClockWrong.")]
    sampled_at: Time | None
    cpu: Share
    memory: Share
    disk: Share
    temperature: Annotated[float | None, Field(description="Of the hottest sensor, degrees Celsius.")]
    gpu_used: Share
    latency_s: Annotated[float | None, Field(description="Seconds that a connection to it takes.")]
    drift_s: Annotated[float | None, Field(description="Seconds that its clock is ahead.")]
    cameras: Annotated[list[str], Field(description="Ids of the cameras that it reads.")]
    models: list[RunningModel]


class Node(TypedDict):
    """A node, as a GeoJSON Feature."""

    type: Literal["Feature"]
    id: str
    geometry: Point | None
    properties: NodeProperties


class Nodes(TypedDict):
    """Nodes, as a GeoJSON FeatureCollection."""

    type: Literal["FeatureCollection"]
    features: list[Node]


class ModelVersion(TypedDict):
    """One version in the registry."""

    version: str
    digest: Digest
    bytes: int
    is_signed: bool
    nodes: Annotated[list[str], Field(description="That run it.")]
    metrics: dict[str, float]


class Model(TypedDict):
    """A model of the registry."""

    name: str
    task: str
    labels: list[str]
    licence: str
    description: str
    versions: Annotated[list[ModelVersion], Field(description="Newest first.")]


class Models(TypedDict):
    """All models of the registry."""

    models: list[Model]


class Progress(TypedDict):
    """How far a deployment is on one node."""

    node: str
    state: Annotated[
        str, Field(description="waiting, connecting, pulling, observed, in use, rolled back, failed, lost.")
    ]
    done_bytes: int
    total_bytes: int
    bursts: Annotated[int, Field(description="That a canary has looked at, of `total_bursts`.")]
    total_bursts: int
    error: NotRequired[Annotated[str, Field(description="Why not; for operators.")]]


class Deployment(TypedDict):
    """One deployment or rollback."""

    id: str
    action: Literal["deploy", "rollback"]
    model: str
    version: str
    by: NotRequired[Annotated[str, Field(description="Whose command it was; for operators.")]]
    begun_at: Time
    ended_at: Time | None
    state: Stage
    reason: NotRequired[Annotated[str, Field(description="Why not everywhere; for operators.")]]
    nodes: list[Progress]


class Deployments(TypedDict):
    """Deployments, newest first."""

    deployments: list[Deployment]


class AuditEntry(TypedDict):
    """One change."""

    at: Time
    by: Annotated[str, Field(description="User of the system that the command ran as.")]
    action: str
    subject: str
    facts: dict[str, str | int | None]


class Audit(TypedDict):
    """The newest changes of the fleet."""

    entries: list[AuditEntry]
