"""The protocol of model registries, and opening the one that an address names; the commands call it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from edge.errors import FleetError
from edge.oci.manifest import Descriptor
from edge.settings import FleetSettings

OnBytes = Callable[[int], None]
"""Called with each number of bytes that were sent or received."""


class Registry(Protocol):
    """Repositories of manifests and blobs. Every method raises FleetError with the address and the fix."""

    address: str

    async def names(self) -> list[str]:
        """The repositories, in order."""
        ...

    async def tags(self, name: str) -> list[str]:
        """The tags of a repository, in order; empty if there is no such repository."""
        ...

    async def resolve(self, name: str, reference: str) -> Descriptor | None:
        """The descriptor of the manifest of a tag or digest; None if there is none."""
        ...

    async def read_manifest(self, name: str, reference: str) -> bytes:
        """A manifest's bytes, checked if the reference is a digest."""
        ...

    async def put_manifest(self, name: str, reference: str, content: bytes) -> str:
        """Store a manifest under a tag or its digest; returns the digest."""
        ...

    async def has_blob(self, name: str, digest: str) -> bool:
        """Whether a blob exists already."""
        ...

    async def put_blob(self, name: str, digest: str, source: Path | bytes, on_bytes: OnBytes | None = None) -> None:
        """Store a blob; an interrupted upload continues where it stopped."""
        ...

    def read_blob(self, name: str, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        """A blob from an offset on. The caller checks the digest of the whole."""
        ...

    async def delete_manifest(self, name: str, digest: str) -> None:
        """Delete a manifest and all its tags."""
        ...

    async def collect_garbage(self) -> int | None:
        """Delete blobs that no manifest uses; returns the freed bytes, None if only the server itself can do it."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


def open_registry(settings: FleetSettings) -> Registry:
    """The registry of the settings.

    Raises:
        FleetError: the address is of an unknown kind.
    """
    address = settings.registry
    if address.startswith(("https://", "http://")):
        from edge.oci.remote import RemoteRegistry  # importing aiohttp takes 150 ms, and a folder does not need it

        return RemoteRegistry(address, settings.registry_ca, settings.writer)
    if "://" in address:
        raise FleetError(f"BONGSU_MODEL_REGISTRY must be https://host[:port][/prefix] or a folder, got {address!r}")
    from edge.oci.layout import LayoutRegistry

    return LayoutRegistry(Path(address))
