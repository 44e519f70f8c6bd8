"""`fleet.yaml`: the wanted nodes, and which version of a model runs where; `bongsu fleet` reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from edge.errors import FleetError
from edge.nodes import Node, Place, SshAddress, check_node_name, parse_label, select
from edge.oci.manifest import split_reference


class NodeEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One node, as `bongsu nodes add` takes it.

    Attributes:
        ssh: `user@host[:port]`.
        key: file of the private key; relative to fleet.yaml.
        host_key: required `SHA256:…` of its host key; without it, `apply` asks when it adds the node.
        place: `LAT,LON[,NAME[,REGION]]`.
        labels: for selectors.
        drained: whether it gets no work.
    """

    ssh: str
    key: str | None = None
    host_key: str | None = None
    place: str | None = None
    labels: dict[str, str] = {}
    drained: bool = False


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version, and the nodes that use it.

    Attributes:
        version: `NAME:VERSION`.
        nodes: a selector of the nodes in this file.
        push: folder with model.yaml to push and sign first if the registry does not have the version.
        keep: how many versions stay on a node.
        canary: how many nodes go first.
    """

    version: str
    nodes: str = "all"
    push: str | None = None
    keep: Annotated[int, msgspec.Meta(ge=1)] = 3
    canary: Annotated[int, msgspec.Meta(ge=0)] = 0


class FleetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The whole file."""

    nodes: dict[str, NodeEntry] = {}
    models: list[ModelEntry] = []


def read_fleet_file(path: Path) -> FleetFile:
    """Read and check the file.

    Raises:
        FleetError: it cannot be read, or a value is missing, unknown or invalid; the message has the value.
    """
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        file = msgspec.convert(content or {}, FleetFile)
    except OSError as error:
        raise FleetError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise FleetError(f"{path}: {' '.join(str(error).split())}") from None
    for name, entry in file.nodes.items():
        check_node_name(name)
        SshAddress.parse(entry.ssh)
        for key, value in entry.labels.items():
            parse_label(f"{key}={value}")
    for model in file.models:
        split_reference(model.version)
    return file


def write_fleet_file(file: FleetFile) -> str:
    """The file as YAML."""
    return yaml.safe_dump(msgspec.to_builtins(file), sort_keys=False, allow_unicode=True)


def wanted_nodes(file: FleetFile, known: dict[str, Node], base: Path) -> dict[str, Node]:
    """The nodes that the file wants; facts known only to the machine or the register come from the register.

    Args:
        file: the wanted fleet.
        known: the register.
        base: the folder to which paths in the file are relative.
    """
    wanted = {}
    for name, entry in file.nodes.items():
        before = known.get(name) or Node(name=name, added_at=datetime.now(UTC))
        wanted[name] = msgspec.structs.replace(
            before,
            ssh=str(SshAddress.parse(entry.ssh)),
            key=str(_located(entry.key, base)) if entry.key else None,
            place=Place.parse(entry.place) if entry.place else None,
            labels=entry.labels,
            is_drained=entry.drained,
        )
    return wanted


def wanted_models(file: FleetFile, nodes: dict[str, Node]) -> list[tuple[ModelEntry, list[str]]]:
    """Each version with the names of the nodes that should use it; drained nodes are skipped.

    Raises:
        FleetError: a selector matches nothing, or two versions of a model are wanted on one node.
    """
    wanted: list[tuple[ModelEntry, list[str]]] = []
    taken: dict[tuple[str, str], str] = {}
    for model in file.models:
        name, _ = split_reference(model.version)
        chosen = [node.name for node in select(nodes.values(), model.nodes) if node.takes_work]
        for node in chosen:
            if (other := taken.setdefault((node, name), model.version)) != model.version:
                raise FleetError(f"{node} would use both {other} and {model.version}: narrow `nodes` of one of them")
        wanted.append((model, chosen))
    return wanted


def _located(path: str, base: Path) -> Path:
    return (base / Path(path).expanduser()).absolute()
