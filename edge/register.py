"""Adds nodes to a fleet and removes them, for `bongsu nodes add`, `remove` and `import`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edge import audit, cluster, ssh
from edge.errors import FleetError
from edge.facts import Facts
from edge.nodes import Node, NodeFile, Place, SshAddress, check_node_name
from edge.reports import ReportFolder
from edge.settings import FleetSettings
from edge.tokens import TokenFile
from edge.trust import give_token

Confirm = Callable[[str], bool]
"""Called to confirm a host key's fingerprint."""
_MIN_PYTHON = (3, 9)


class _Done(msgspec.Struct):
    path: str = ""
    removed: str = ""


async def add_ssh(
    settings: FleetSettings,
    name: str,
    address: SshAddress,
    key: Path | None,
    confirm: Confirm,
    *,
    fingerprint: str | None = None,
    place: Place | None = None,
    labels: dict[str, str] | None = None,
) -> Node:
    """Verify a machine's host key, read its facts, install the registry's certificate, and register it.

    Args:
        settings: of the fleet.
        name: the node's name.
        address: of its SSH server.
        key: file of the private key for SSH.
        confirm: called with the host key if `fingerprint` is not given.
        fingerprint: required `SHA256:…` of the host key.
        place: its position.
        labels: for selectors.

    Raises:
        FleetError: the name is taken, the host key is wrong, or the machine lacks a requirement.
        NodeLostError: it cannot be reached.
    """
    file = NodeFile(settings.folder)
    _check_free(file, name)
    host_key = await ssh.read_host_key(address)
    shown = host_key.get_fingerprint()
    if fingerprint is not None and fingerprint != shown:
        raise FleetError(f"{address} shows the host key {shown}, not {fingerprint}: is it the right machine?")
    if fingerprint is None and not confirm(f"{address} shows the host key {shown} ({host_key.get_algorithm()})"):
        raise FleetError(f"node {name!r} was not added: its host key was not accepted")
    node = Node(
        name=name,
        added_at=datetime.now(UTC),
        ssh=str(address),
        key=str(key.absolute()) if key is not None else None,
        host_key=host_key.export_public_key().decode().strip(),
        place=place,
        labels=labels or {},
    )
    node = await _inspect(settings, node)
    await give_token(settings, node)
    try:
        _register(file, node)
    except FleetError:
        TokenFile(settings.folder).revoke(name)
        raise
    audit.record(settings.folder, "node_added", name, ssh=str(address), host_key=shown)
    return node


async def add_here(
    settings: FleetSettings, name: str, *, place: Place | None = None, labels: dict[str, str] | None = None
) -> Node:
    """Register this machine; what is deployed to it is in `here` of the fleet's folder.

    Raises:
        FleetError: the name is taken, this machine is registered already, or it lacks what is needed.
    """
    file = NodeFile(settings.folder)
    _check_free(file, name)
    if known := next((node.name for node in file.read().values() if node.here is not None), None):
        raise FleetError(f"this machine is registered already, as {known!r}")
    home = (settings.folder / "here").absolute()
    node = Node(name=name, added_at=datetime.now(UTC), here=str(home), place=place, labels=labels or {})
    node = await _inspect(settings, node)
    _register(file, node)
    audit.record(settings.folder, "node_added", name, here=str(home))
    return node


def add_kubernetes(
    settings: FleetSettings, name: str, *, place: Place | None = None, labels: dict[str, str] | None = None
) -> Node:
    """Register a node of kubectl's cluster.

    Raises:
        FleetError: the name is taken, there is no kubectl, or no such node.
    """
    file = NodeFile(settings.folder)
    _check_free(file, name)
    facts = cluster.read_facts(name)
    node = Node(name=name, added_at=datetime.now(UTC), kubernetes=True, place=place, labels=labels or {}, facts=facts)
    _register(file, node)
    audit.record(settings.folder, "node_added", name, kubernetes="yes")
    return node


async def remove(settings: FleetSettings, name: str, *, is_forced: bool = False) -> str | None:
    """Remove all our files from a node, then remove it from the register, and revoke its token.

    Returns:
        The reason for which it was not cleaned, if `is_forced` and it could not be reached; None if it is clean.

    Raises:
        FleetError: it is not registered, or cannot be cleaned and `is_forced` is not given.
    """
    file = NodeFile(settings.folder)
    node = file.get(name)
    left = None
    if node.is_reached:
        try:
            await _undo_bootstrap(settings, node)
            await ssh.ask(node, {"command": "remove"}, _Done)
        except FleetError as error:
            if not is_forced:
                hint = f"; gone for good? bongsu nodes remove {name} --force"
                raise type(error)(f"{error}{hint}") from None
            left = str(error)

    def drop(nodes: dict[str, Node]) -> None:
        nodes.pop(name, None)

    file.change(drop)
    TokenFile(settings.folder).revoke(name)
    ReportFolder(settings.folder).forget(name)
    audit.record(settings.folder, "node_removed", name, not_cleaned=left)
    return left


async def _undo_bootstrap(settings: FleetSettings, node: Node) -> None:
    if node.runtime is not None:
        from edge.bootstrap import Run, undo

        await undo(settings, node, Run(lambda _: None))


def _check_free(file: NodeFile, name: str) -> None:
    check_node_name(name)
    if name in file.read():
        raise FleetError(f"node {name!r} is registered already: bongsu nodes show {name}, or remove it first")


def _register(file: NodeFile, node: Node) -> None:
    def add(nodes: dict[str, Node]) -> None:
        if node.name in nodes:
            raise FleetError(f"node {node.name!r} was registered by somebody else meanwhile")
        nodes[node.name] = node

    file.change(add)


async def _inspect(settings: FleetSettings, node: Node) -> Node:
    """The node with the facts of its machine, after the registry's certificate was brought to it."""
    facts = await ssh.ask(node, {"command": "facts"}, Facts)
    _check_facts(node.name, facts)
    if settings.registry_ca is not None:
        await ssh.ask(node, {"command": "install-ca", "ca": settings.registry_ca.read_text()}, _Done)
    return msgspec.structs.replace(node, facts=facts)


def _check_facts(name: str, facts: Facts) -> None:
    try:
        python = tuple(int(part) for part in facts.python.split(".")[:2])
    except ValueError:
        raise FleetError(f"node {name!r} reports {facts.python!r} as its version of Python") from None
    if python < _MIN_PYTHON:
        raise FleetError(f"node {name!r} has Python {facts.python}: 3.9 or later is needed")
    if not facts.openssl.startswith("OpenSSL ") or facts.openssl.split(" ")[1].startswith(("0.", "1.")):
        raise FleetError(
            f"node {name!r} has {facts.openssl or 'no openssl'}: OpenSSL 3.0 or later is needed to check signatures"
        )
