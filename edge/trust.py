"""Gives a node its token, and shuts out one that was stolen; `bongsu nodes add`, `token` and `revoke` call it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import msgspec

from edge import audit, cluster, ssh
from edge.errors import FleetError
from edge.nodes import Node, NodeFile
from edge.reports import ReportFolder
from edge.request import reporter
from edge.settings import FleetSettings
from edge.tokens import TokenFile


class _Done(msgspec.Struct):
    path: str


async def give_token(settings: FleetSettings, node: Node) -> None:
    """Issue a new token for a node and bring it there, with what sends its reports; an earlier one is revoked.

    Raises:
        FleetError: the node is not reached over SSH, or refuses.
    """
    if node.ssh is None:
        raise FleetError(f"node {node.name!r} is not reached over SSH, and needs no token: {node.address} serves it")
    tokens = TokenFile(settings.folder)
    ca = settings.gateway_ca.read_text() if settings.gateway_ca is not None else None
    request = {
        "command": "install-token",
        "node": node.name,
        "url": settings.gateway or "",
        "ca": ca,
        "token": tokens.issue(node.name),
        "reporter": base64.b64encode(reporter()).decode(),
    }
    try:
        await ssh.ask(node, request, _Done)
    except FleetError:
        tokens.revoke(node.name)
        raise


async def renew_token(settings: FleetSettings, name: str) -> None:
    """Give a registered node a new token.

    Raises:
        FleetError: it is not registered, was revoked, or cannot be reached.
    """
    await give_token(settings, NodeFile(settings.folder).get(name))
    audit.record(settings.folder, "node_token_issued", name)


def revoke(settings: FleetSettings, name: str) -> list[str]:
    """Shut a node out at once, without asking it: a thief may hold it.

    Its token opens nothing any more, nothing connects to it, its host key is no longer trusted, its reports are
    forgotten; the pods of a cluster's node go elsewhere.

    Returns:
        What is left for the operator, because it is out of this fleet's reach; a line each.

    Raises:
        FleetError: it is not registered, or is this machine.
    """
    file = NodeFile(settings.folder)
    node = file.get(name)
    if node.here is not None:
        raise FleetError(f"node {name!r} is this machine: bongsu nodes remove {name} takes it out of the fleet")
    TokenFile(settings.folder).revoke(name)  # first: what follows may fail
    file.update(name, revoked_at=node.revoked_at or datetime.now(UTC), host_key=None)
    ReportFolder(settings.folder).forget(name)
    audit.record(settings.folder, "node_revoked", name)
    left = _secrets_on(settings, node)
    if node.kubernetes:
        try:
            cluster.shut_out(name)
        except FleetError as error:
            left.append(f"its pods were not evicted: {error}")
    return left


def _secrets_on(settings: FleetSettings, node: Node) -> list[str]:
    """What a thief may have read there that no token of ours opens."""
    left = [f"passwords of the cameras that {node.name} watched (its cameras.yaml): change them at the cameras"]
    if node.kubernetes:
        left.append(f"its kubelet's certificate: kubectl delete node {node.name}, and renew the cluster's join token")
    else:
        left.append("the user of its motion worker at the broker, if it has its own: rabbitmqctl change_password")
    if settings.is_remote and settings.gateway is None and settings.reader is not None and node.ssh is not None:
        left.append(
            f"the registry's user {settings.reader.user!r}, whose password was in its memory during each pull: change "
            "it there; with BONGSU_FLEET_GATEWAY no node gets it"
        )
    return left
