"""Ansible inventories in INI format, as used by EVC: `bongsu nodes import` reads and `export` writes them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import FleetError
from edge.nodes import Node, SshAddress

_SECTION = re.compile(r"\[([A-Za-z0-9_.-]+)(?::(vars|children))?\]")
_RANGE = re.compile(r"\[[^\]]*:[^\]]*\]")
_SECRETS = (
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_become_password",
    "ansible_become_pass",
    "ansible_sudo_pass",
)


@dataclass(slots=True)
class Host:
    """One host of an inventory.

    Attributes:
        name: its alias.
        groups: its groups, direct ones and those that contain them.
        variables: its own, which override those of its groups.
    """

    name: str
    groups: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def address(self, default_user: str | None = None) -> SshAddress:
        """The address of its SSH server.

        Raises:
            FleetError: it has no user.
        """
        host = self.variables.get("ansible_host") or self.variables.get("ansible_ssh_host") or self.name
        user = self.variables.get("ansible_user") or self.variables.get("ansible_ssh_user") or default_user
        port = self.variables.get("ansible_port") or self.variables.get("ansible_ssh_port") or "22"
        if user is None:
            raise FleetError(f"host {self.name!r} has no ansible_user: name one there, or with --user")
        return SshAddress.parse(f"{user}@{host}:{port}" if ":" not in host else f"{user}@[{host}]:{port}")

    @property
    def key(self) -> str | None:
        """File of the private key."""
        return self.variables.get("ansible_ssh_private_key_file") or self.variables.get("ansible_private_key_file")


@dataclass(slots=True)
class Inventory:
    """The hosts that were read, and notes about entries that were left out."""

    hosts: dict[str, Host]
    notes: list[str]


def read_inventory(path: Path) -> Inventory:
    """Read an inventory in INI format.

    Raises:
        FleetError: it cannot be read, or a line is invalid.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FleetError(f"{path} cannot be read as an inventory: {error}") from None
    reading = _Reading(str(path))
    for number, line in enumerate(lines, 1):
        if (text := line.strip()) and not text.startswith(("#", ";")):
            reading.take(number, text)
    return reading.finish()


def write_inventory(nodes: Iterable[Node]) -> str:
    """The SSH nodes as an inventory, with each label as a group and without secrets."""
    known = [node for node in nodes if node.ssh is not None and node.revoked_at is None]
    lines = ["# Written by bongsu nodes export; nodes of a cluster and revoked ones are not in it.", "[bongsu]"]
    groups: dict[str, list[str]] = {}
    for node in known:
        address = SshAddress.parse(node.ssh or "")
        facts = [f"ansible_host={address.host}", f"ansible_port={address.port}", f"ansible_user={address.user}"]
        if node.key:
            facts.append(f"ansible_ssh_private_key_file={shlex.quote(node.key)}")
        lines.append(" ".join([node.name, *facts]))
        for key, value in node.labels.items():
            groups.setdefault(re.sub(r"[^A-Za-z0-9_]", "_", f"{key}_{value}" if value != "true" else key), []).append(
                node.name
            )
    for group, names in sorted(groups.items()):
        lines += ["", f"[{group}]", *names]
    return "\n".join(lines) + "\n"


class _Reading:
    """The state while an inventory is read."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._group, self._kind = "ungrouped", "hosts"
        self._hosts: dict[str, Host] = {}
        self._members: dict[str, list[str]] = {}
        self._children: dict[str, list[str]] = {}
        self._variables: dict[str, dict[str, str]] = {}
        self._notes: list[str] = []

    def take(self, number: int, text: str) -> None:
        where = f"{self._where}:{number}"
        if text.startswith("[") and text.endswith("]") and " " not in text:
            found = _SECTION.fullmatch(text)
            if found is None:
                raise FleetError(f"{where}: a section is [group], [group:vars] or [group:children], got {text[:80]!r}")
            self._group, self._kind = found[1], found[2] or "hosts"
        elif self._kind == "vars":
            key, _, value = text.partition("=")
            self._keep(self._variables.setdefault(self._group, {}), key.strip(), value.strip().strip("'\""), where)
        elif self._kind == "children":
            self._children.setdefault(self._group, []).append(text)
        else:
            self._take_host(where, text)

    def finish(self) -> Inventory:
        for host in self._hosts.values():
            groups = self._groups_of(host.name)
            host.groups = [g for g in groups if g not in ("all", "ungrouped")]
            inherited: dict[str, str] = {}
            for group in ["all", *reversed(groups)]:
                inherited |= self._variables.get(group, {})
            host.variables = inherited | host.variables
        return Inventory(self._hosts, self._notes)

    def _take_host(self, where: str, text: str) -> None:
        try:
            name, *facts = shlex.split(text, comments=True)
        except ValueError as error:
            raise FleetError(f"{where}: {error}: {text[:80]!r}") from None
        if _RANGE.search(name):
            raise FleetError(f"{where}: ranges are not read: write out {name!r}")
        host = self._hosts.setdefault(name, Host(name))
        for fact in facts:
            key, separator, value = fact.partition("=")
            if not separator:
                raise FleetError(f"{where}: after a host come KEY=VALUE, got {fact[:80]!r}")
            self._keep(host.variables, key, value, where)
        self._members.setdefault(self._group, []).append(name)

    def _keep(self, variables: dict[str, str], key: str, value: str, where: str) -> None:
        if key in _SECRETS:
            self._notes.append(f"{where}: {key} is left out: nodes are opened by keys, and no password is kept")
        else:
            variables[key] = value

    def _groups_of(self, name: str) -> list[str]:
        """The groups of a host, its own first, then those that contain them."""
        found = [group for group, members in self._members.items() if name in members]
        for group in found:
            found += [g for g, children in self._children.items() if group in children and g not in found]
        return found
