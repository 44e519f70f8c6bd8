"""What the API and its page show of a fleet: `status.json`, of the register, samples, registry and deployments.

`service.py` keeps it; web/fleet.py says what is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from edge.artefact import Version, read_version
from edge.audit import read_newest
from edge.deployments import read_deployments
from edge.errors import FleetError
from edge.nodes import Node
from edge.oci.registry import Registry
from edge.settings import FleetSettings
from edge.signing import is_signature_tag, signature_tag
from edge.state_file import write_private
from edge.watch import Sample
from web.fleet import FleetStatus, ModelInUse, ModelStatus, NodeState, NodeStatus, VersionStatus

STATUS_FILE = "status.json"
_AUDIT_SHOWN = 200
_ANY = "any"
"""The `node` of a camera that has none of its own (motion/camera.py)."""


def write_status(
    settings: FleetSettings,
    nodes: Mapping[str, Node],
    samples: Mapping[str, Sample],
    models: Sequence[ModelStatus],
    cameras: Mapping[str, Sequence[str]],
) -> FleetStatus:
    """Write the file, in one step; the status that is in it."""
    status = FleetStatus(
        at=datetime.now(UTC),
        nodes=[
            _node(node, samples.get(name), cameras_of(node, nodes, cameras)) for name, node in sorted(nodes.items())
        ],
        models=[_with_nodes(model, nodes) for model in models],
        deployments=read_deployments(settings.folder),
        audit=read_newest(settings.folder, _AUDIT_SHOWN),
    )
    write_private(settings.status_file or settings.folder / STATUS_FILE, msgspec.json.encode(status))
    return status


async def read_models(registry: Registry) -> list[ModelStatus]:
    """Every model of a registry with its versions in the order of their tags; what others keep there is left out."""
    found = []
    for name in await registry.names():
        tags = await registry.tags(name)
        versions: list[tuple[Version, bool]] = []
        for tag in (tag for tag in tags if not is_signature_tag(tag)):
            try:
                version = await read_version(registry, name, tag)
            except FleetError:
                continue
            versions.append((version, signature_tag(version.digest) in tags))
        if versions:
            found.append(_model(name, versions))
    return found


def read_camera_nodes(path: Path) -> dict[str, list[str]]:
    """The ids of the cameras in a cameras.yaml by their `node`; empty where it cannot be read: motion says why."""
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError):
        return {}
    found: dict[str, list[str]] = {}
    known: dict[str, Any] = content if isinstance(content, dict) else {}
    default, cameras = known.get("defaults"), known.get("cameras")
    usual = default.get("node", _ANY) if isinstance(default, dict) else _ANY
    for camera in cameras if isinstance(cameras, list) else []:
        if isinstance(camera, dict) and "id" in camera:
            found.setdefault(str(camera.get("node", usual)), []).append(str(camera["id"]))
    return found


def cameras_of(node: Node, nodes: Mapping[str, Node], cameras: Mapping[str, Sequence[str]]) -> list[str]:
    """The cameras that name this node, and those that name none if it is the only one."""
    return [*cameras.get(node.name, ()), *(cameras.get(_ANY, ()) if len(nodes) == 1 else ())]


def _node(node: Node, sample: Sample | None, cameras: Sequence[str]) -> NodeStatus:
    now = sample.health if sample is not None else None
    status = NodeStatus(
        name=node.name,
        kind="kubernetes" if node.kubernetes else "here" if node.here is not None else "ssh",
        lat=node.place.lat if node.place else None,
        lon=node.place.lon if node.place else None,
        place=node.place.name if node.place else "",
        region=node.place.region if node.place else "",
        architecture=node.facts.architecture if node.facts else "",
        system=node.facts.system if node.facts else "",
        cpus=node.facts.cpus if node.facts else 0,
        gpu=node.facts.gpu if node.facts else "",
        state=_state(node, sample),
        alerts=sample.alerts if sample is not None else [],
        sampled_at=sample.at if sample is not None else None,
        cameras=list(cameras),
        models=[ModelInUse(name, m.version, m.digest, m.at) for name, m in sorted(node.models.items())],
    )
    if now is None or sample is None:
        return status
    return msgspec.structs.replace(
        status,
        cpu=round(now.cpu, 3),
        memory=_used(now.memory_free_bytes, now.memory_bytes),
        disk=_used(now.disk_free_bytes, now.disk_bytes),
        temperature=now.temperature,
        gpu_used=now.gpu.used if now.gpu else None,
        latency_s=sample.latency_s,
        drift_s=sample.drift_s,
    )


def _state(node: Node, sample: Sample | None) -> NodeState:
    if node.revoked_at is not None:
        return "revoked"
    if sample is not None and "NodeDown" in sample.alerts:
        return "down"
    if node.is_drained:
        return "drained"
    if sample is None:
        return "unknown"
    return "warning" if sample.alerts else "ok"


def _used(free: int, all_: int) -> float | None:
    return round(1 - free / all_, 3) if all_ > 0 else None


def _model(name: str, versions: Sequence[tuple[Version, bool]]) -> ModelStatus:
    newest = versions[-1][0].card
    return ModelStatus(
        name=name,
        task=newest.task,
        labels=list(newest.labels),
        licence=newest.licence or "",
        description=newest.description or "",
        versions=[
            VersionStatus(
                version=v.card.version,
                digest=v.digest,
                bytes=v.size,
                is_signed=signed,
                nodes=[],
                metrics=v.card.metrics,
            )
            for v, signed in versions
        ],
    )


def _with_nodes(model: ModelStatus, nodes: Mapping[str, Node]) -> ModelStatus:
    def users(digest: str) -> list[str]:
        return [n for n, node in sorted(nodes.items()) if (m := node.models.get(model.name)) and m.digest == digest]

    versions = [msgspec.structs.replace(v, nodes=users(v.digest)) for v in model.versions]
    return msgspec.structs.replace(model, versions=versions)
