"""Where nodes pull a version from: the gateway, the registry itself, or the SSH connection; `deploy.py` asks."""

from __future__ import annotations

from pathlib import Path

from edge.artefact import Version
from edge.nodes import Node
from edge.settings import FleetSettings

Source = dict[str, str | bool | None]
"""What edge/node/transfer.py takes: `url` of the blobs, `ca`, and `authorization` or `is_gateway`."""


async def pull_source(settings: FleetSettings, version: Version) -> Source | None:
    """The source of a version's blobs; None: they are sent over the SSH connection.

    Raises:
        FleetError: the registry cannot be reached, or refuses its reader.
    """
    if settings.gateway is not None:
        # The node has its own token, and the registry's password stays with the gateway.
        url = f"{settings.gateway}/v2/{version.name}/blobs/"
        return {"url": url, "is_gateway": True, "ca": _pem(settings.gateway_ca)}
    if not settings.is_remote:
        return None
    from edge.oci.remote import RemoteRegistry

    reader = RemoteRegistry(settings.registry, settings.registry_ca, settings.reader)
    try:
        authorization = await reader.pull_authorization(version.name)
    finally:
        await reader.close()
    return {"url": reader.blobs_url(version.name), "authorization": authorization, "ca": _pem(settings.registry_ca)}


def source_for(node: Node, source: Source | None) -> Source | None:
    """The source for one node: this machine has no token, and takes blobs over its pipe in the place of the gateway."""
    return None if source is not None and node.here is not None and source.get("is_gateway") else source


def _pem(path: Path | None) -> str | None:
    return path.read_text() if path is not None else None
