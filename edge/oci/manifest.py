"""OCI's JSON: descriptors, manifests and digests, by the image specification 1.1."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec

from edge.errors import FleetError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
MAX_MANIFEST_BYTES = 4 << 20
"""The size that registries should accept, by the distribution specification."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_CHUNK_BYTES = 1 << 20


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A manifest's entry for one blob."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    artifact_type: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An image manifest; ours are artefacts, which have an artifact type."""

    schema_version: int
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor
    layers: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's bytes; equal manifests have equal bytes, and so one digest."""
    return msgspec.json.encode(manifest, order="deterministic")


def decode_manifest(content: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        FleetError: it is not a manifest, or is larger than 4 MiB.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise FleetError(f"a manifest of {len(content)} bytes is over the limit of {MAX_MANIFEST_BYTES}")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise FleetError(f"not an OCI image manifest: {error}") from None
    for blob in (manifest.config, *manifest.layers):
        check_digest(blob.digest)
        if blob.size < 0:
            raise FleetError(f"a manifest gives {blob.digest} a size of {blob.size} bytes")
    return manifest


def digest_of(content: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_of_file(path: Path) -> tuple[str, int]:
    """The digest of a file, and its size in bytes."""
    total, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
            size += len(chunk)
    return f"sha256:{total.hexdigest()}", size


def is_digest(reference: str) -> bool:
    """Whether a reference is a digest, not a tag."""
    return _DIGEST.fullmatch(reference) is not None


def check_digest(digest: str) -> str:
    """Check a digest, and return it.

    Raises:
        FleetError: it is not a sha256 in OCI's form.
    """
    if not is_digest(digest):
        raise FleetError(f"a digest is sha256: and 64 hexadecimal digits, got {digest[:100]!r}")
    return digest


def check_name(name: str) -> str:
    """Check the name of a repository, and return it.

    Raises:
        FleetError: OCI does not allow it.
    """
    if len(name) > 255 or _NAME.fullmatch(name) is None:
        raise FleetError(f"a model's name is lower case letters, digits and . _ - between them, got {name[:100]!r}")
    return name


def check_reference(reference: str) -> str:
    """Check a tag or digest, and return it.

    Raises:
        FleetError: it is neither.
    """
    if not is_digest(reference) and _TAG.fullmatch(reference) is None:
        raise FleetError(f"a version is up to 128 of letters, digits and . _ -, got {reference[:140]!r}")
    return reference


def split_reference(given: str) -> tuple[str, str]:
    """`hazard:2026.11.1` or `hazard@sha256:…` as name and tag or digest.

    Raises:
        FleetError: a part is missing or not allowed.
    """
    name, separator, reference = given.partition("@")
    if not separator:
        name, separator, reference = given.rpartition(":")
    if not separator or not name:
        raise FleetError(f"a version is NAME:VERSION or NAME@sha256:…, got {given!r}")
    return check_name(name), check_reference(reference)
