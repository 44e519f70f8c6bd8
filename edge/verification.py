"""Reads every byte of a version and compares it with its manifest; `bongsu models verify` calls it."""

from __future__ import annotations

import hashlib

from edge.artefact import FILE_PATH, Version
from edge.errors import FleetError
from edge.oci.registry import Registry


async def check_blobs(registry: Registry, version: Version) -> None:
    """Check each file of a version.

    Raises:
        FleetError: one differs from the manifest.
    """
    for layer in version.manifest.layers:
        hashed = hashlib.sha256()
        async for chunk in registry.read_blob(version.name, layer.digest):
            hashed.update(chunk)
        if f"sha256:{hashed.hexdigest()}" != layer.digest:
            name = layer.annotations[FILE_PATH]
            raise FleetError(
                f"{version.name}: {name} was altered in {registry.address}: it is not {layer.digest[:19]}…"
            )
