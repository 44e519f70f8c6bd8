"""What a fleet tells the API: the content of `status.json`, which edge/ writes and api/ reads.

Neither room imports the other. A file and no table: the fleet's own state is files, one process writes it, any number
of API processes read it, and a fleet works without a database. The API shows who did what, and why something failed, to
operators alone: reasons may hold addresses.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

NodeState = Literal["ok", "warning", "down", "drained", "revoked", "unknown"]
Stage = Literal["running", "done", "failed", "interrupted"]


class ModelInUse(msgspec.Struct, frozen=True):
    """A model that a node runs, and since when."""

    name: str
    version: str
    digest: str
    at: datetime


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One node.

    Attributes:
        name: its name.
        kind: how it is reached.
        lat: degrees north; None where nobody said where it stands.
        lon: degrees east.
        place: name of the place.
        region: of the place.
        architecture: of its CPU.
        system: its operating system.
        cpus: how many.
        gpu: its GPU; empty: none.
        state: of its last sample; `unknown` before the first.
        alerts: what is wrong, by the names of Prometheus' alerts.
        sampled_at: when it was last asked.
        cpu: share of the CPU in use.
        memory: share of the memory in use.
        disk: share of the disk in use.
        temperature: of its hottest sensor, degrees Celsius.
        gpu_used: share of the GPU in use.
        latency_s: of a connection to it.
        drift_s: how far its clock is ahead.
        cameras: that it reads, by id.
        models: that it runs.
    """

    name: str
    kind: Literal["ssh", "kubernetes", "here"]
    lat: float | None = None
    lon: float | None = None
    place: str = ""
    region: str = ""
    architecture: str = ""
    system: str = ""
    cpus: int = 0
    gpu: str = ""
    state: NodeState = "unknown"
    alerts: list[str] = []
    sampled_at: datetime | None = None
    cpu: float | None = None
    memory: float | None = None
    disk: float | None = None
    temperature: float | None = None
    gpu_used: float | None = None
    latency_s: float | None = None
    drift_s: float | None = None
    cameras: list[str] = []
    models: list[ModelInUse] = []


class VersionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model in the registry, and the nodes that run it."""

    version: str
    digest: str
    bytes: int
    is_signed: bool
    nodes: list[str]
    metrics: dict[str, float] = {}


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the registry; of its newest version, what its card says."""

    name: str
    task: str
    labels: list[str]
    licence: str
    description: str
    versions: list[VersionStatus]


class NodeProgress(msgspec.Struct, kw_only=True):
    """How far a deployment is on one node."""

    node: str
    state: str = "waiting"
    done_bytes: int = 0
    total_bytes: int = 0
    bursts: int = 0
    total_bursts: int = 0
    error: str = ""


class DeploymentStatus(msgspec.Struct, kw_only=True):
    """One deployment or rollback: what, by whom, and how far."""

    id: str
    action: Literal["deploy", "rollback"]
    model: str
    version: str
    by: str
    begun_at: datetime
    ended_at: datetime | None = None
    state: Stage = "running"
    reason: str = ""
    nodes: list[NodeProgress] = []


class AuditEntry(msgspec.Struct, frozen=True):
    """Who changed what; only operators are shown it."""

    at: datetime
    by: str
    action: str
    subject: str
    facts: dict[str, str | int | None] = {}


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, as it was at one moment; newest deployments and audit entries first."""

    at: datetime | None = None
    nodes: list[NodeStatus] = []
    models: list[ModelStatus] = []
    deployments: list[DeploymentStatus] = []
    audit: list[AuditEntry] = []
