"""The nodes of a fleet and their file, `nodes.yaml`: registered data, facts about each machine, and its models.

It is a file, not a database: operators can read it, `git diff` shows changes, and only store/ uses SQL. It has no
secrets: of an SSH key it has the file name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from edge.errors import FleetError
from edge.facts import Facts
from edge.state_file import locked, write_private
from functions.settings import split

RUNTIMES = ("none", "podman", "docker", "containerd", "k3s")
"""Container runtimes that `bongsu nodes bootstrap` can prepare."""
_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_SSH = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?"
)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_Word = Annotated[str, msgspec.Meta(max_length=200)]


@dataclass(frozen=True, slots=True)
class SshAddress:
    """`user@host:port`."""

    user: str
    host: str
    port: int = 22

    @classmethod
    def parse(cls, given: str) -> SshAddress:
        """Read `user@host[:port]`.

        Raises:
            FleetError: it has another form.
        """
        found = _SSH.fullmatch(given)
        if found is None or found["user"] is None or not 0 < int(found["port"] or 22) < 65536:
            raise FleetError(f"an SSH address is user@host[:port], got {given[:200]!r}")
        return cls(found["user"], found["host"].strip("[]"), int(found["port"] or 22))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The position of a node; degrees north and east."""

    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    name: _Word = ""
    region: _Word = ""

    @classmethod
    def parse(cls, given: str) -> Place:
        """Read `LAT,LON[,NAME[,REGION]]`.

        Raises:
            FleetError: it has another form, or is out of range.
        """
        parts = [part.strip() for part in given.split(",")]
        try:
            place = cls(float(parts[0]), float(parts[1]), *parts[2:4])
            return msgspec.convert(msgspec.to_builtins(place), cls)
        except (IndexError, ValueError) as error:
            raise FleetError(
                f"a place is LAT,LON,NAME,REGION such as 37.57,126.98,Gate,Seoul, got {given!r}: {error}"
            ) from None


class Deployed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version of a model that a node last reported to use."""

    version: str
    digest: str
    at: datetime


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One node.

    Attributes:
        name: its name in the fleet.
        ssh: `user@host:port`; None for a node of a cluster.
        key: file of the private key for SSH.
        host_key: the verified public key of its SSH server.
        kubernetes: whether it is a node of the cluster.
        here: for the machine that the fleet is managed on: the folder in the place of `~/.bongsu`.
        place: where it stands.
        labels: what selectors match.
        is_drained: whether it gets no work now.
        runtime: the container runtime that `bongsu nodes bootstrap` prepared; None: it was not run.
        revoked_at: since when it is shut out: nothing connects to it any more.
        facts: reported by the machine when it was added.
        models: the versions that it uses, by model name.
    """

    name: str
    added_at: datetime
    ssh: str | None = None
    key: str | None = None
    host_key: str | None = None
    kubernetes: bool = False
    here: str | None = None
    place: Place | None = None
    labels: dict[str, str] = {}
    is_drained: bool = False
    runtime: str | None = None
    revoked_at: datetime | None = None
    facts: Facts | None = None
    models: dict[str, Deployed] = {}

    @property
    def is_reached(self) -> bool:
        """Whether requests can be sent to it: a node of a cluster gets its work from Kubernetes."""
        return self.revoked_at is None and (self.ssh is not None or self.here is not None)

    @property
    def takes_work(self) -> bool:
        """Whether it is neither drained nor revoked."""
        return not self.is_drained and self.revoked_at is None

    @property
    def address(self) -> str:
        """How it is reached, for people."""
        return self.ssh or ("this machine" if self.here is not None else "cluster")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int = 1
    nodes: list[Node] = []


class NodeFile:
    """`nodes.yaml` of one fleet; several processes may change it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "nodes.yaml"

    def read(self) -> dict[str, Node]:
        """All nodes by name.

        Raises:
            FleetError: the file is invalid; the message has the line or value.
        """
        try:
            content = yaml.load(self.path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except FileNotFoundError:
            return {}
        except (OSError, yaml.YAMLError) as error:
            raise FleetError(f"{self.path} cannot be read: {' '.join(str(error).split())}") from None
        try:
            found = msgspec.convert(content or {}, _File)
        except msgspec.ValidationError as error:
            raise FleetError(f"{self.path}: {error}") from None
        return {node.name: node for node in found.nodes}

    def get(self, name: str) -> Node:
        """One node.

        Raises:
            FleetError: there is none of that name.
        """
        nodes = self.read()
        if name not in nodes:
            raise FleetError(f"no node {name!r}: there {_are(sorted(nodes))}")
        return nodes[name]

    def change(self, change: Callable[[dict[str, Node]], None]) -> None:
        """Read, change and write under the file's lock.

        Args:
            change: alters the nodes by name in place; if it raises, the file is not changed.
        """
        with locked(self.path):
            nodes = self.read()
            change(nodes)
            file = _File(nodes=[nodes[name] for name in sorted(nodes)])
            write_private(
                self.path, yaml.safe_dump(msgspec.to_builtins(file), sort_keys=False, allow_unicode=True).encode()
            )

    def put(self, node: Node) -> None:
        """Add a node, or replace the one with its name."""
        self.change(lambda nodes: nodes.__setitem__(node.name, node))

    def update(self, name: str, **fields: object) -> Node:
        """Change fields of one node; returns the changed node."""
        changed: list[Node] = []

        def apply(nodes: dict[str, Node]) -> None:
            if name not in nodes:
                raise FleetError(f"no node {name!r}: it was removed meanwhile")
            nodes[name] = msgspec.structs.replace(nodes[name], **fields)
            changed.append(nodes[name])

        self.change(apply)
        return changed[0]


def check_node_name(name: str) -> str:
    """Check a node's name, and return it.

    Raises:
        FleetError: it is not a valid host name.
    """
    if _NODE_NAME.fullmatch(name) is None:
        raise FleetError(f"a node's name is lower case letters, digits, - and . , 63 at most, got {name[:80]!r}")
    return name


def parse_label(given: str) -> tuple[str, str]:
    """Read `KEY=VALUE`; an empty value removes the label.

    Raises:
        FleetError: it has another form.
    """
    key, separator, value = given.partition("=")
    if not separator or _LABEL.fullmatch(key) is None or len(value) > 200 or not value.isprintable():
        raise FleetError(f"a label is KEY=VALUE, got {given[:200]!r}")
    return key, value


def select(nodes: Iterable[Node], selector: str) -> list[Node]:
    """The nodes that a selector matches.

    Args:
        nodes: the nodes of the fleet.
        selector: `all`; names; or `KEY=VALUE` of labels, of `region`, `place` or `architecture`; several with commas,
            where names add nodes and conditions narrow them.

    Raises:
        FleetError: a name is unknown, or nothing matches.
    """
    known = {node.name: node for node in nodes}
    parts = split(selector)
    names = [part for part in parts if "=" not in part and part != "all"]
    if missing := [name for name in names if name not in known]:
        raise FleetError(f"no node {missing[0]!r}: there {_are(sorted(known))}")
    chosen = [known[name] for name in dict.fromkeys(names)] if names else list(known.values())
    for part in parts:
        key, separator, value = part.partition("=")
        if separator:
            chosen = [node for node in chosen if _fact(node, key) == value]
    if not chosen or not parts:
        raise FleetError(f"no node matches {selector!r}: bongsu nodes list shows labels and regions")
    return chosen


def _fact(node: Node, key: str) -> str | None:
    if key in node.labels:
        return node.labels[key]
    if key in ("region", "place") and node.place is not None:
        return node.place.region if key == "region" else node.place.name
    return node.facts.architecture if key == "architecture" and node.facts is not None else None


def _are(names: list[str]) -> str:
    return f"are {', '.join(names[:20])}" if names else "are none yet: bongsu nodes add"
