"""Signatures of models: ed25519, in cosign's payload and location, so that keys and signatures work with both."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.errors import FleetError
from edge.oci.manifest import (
    MANIFEST_TYPE,
    Descriptor,
    Manifest,
    decode_manifest,
    digest_of,
    encode_manifest,
)
from edge.oci.registry import Registry

SIGNATURE = "dev.cosignproject.cosign/signature"
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_CONFIG = msgspec.json.encode(
    {
        "architecture": "",
        "config": {},
        "created": "0001-01-01T00:00:00Z",
        "history": [],
        "os": "",
        "rootfs": {"diff_ids": [], "type": "layers"},
    }
)
_MAX_SIGNATURES = 32
_MAX_PAYLOAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Signature:
    """The signed payload, and the signature over exactly those bytes."""

    payload: bytes
    value: bytes


class _Image(msgspec.Struct, rename={"digest": "docker-manifest-digest"}):
    digest: str


class _Critical(msgspec.Struct):
    image: _Image


class _Payload(msgspec.Struct):
    critical: _Critical


def make_key(private: Path, public: Path) -> None:
    """Write a new key pair in PEM; only its owner can read the private key.

    Raises:
        FleetError: one of the files exists, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for path, content, mode in ((private, secret, 0o600), (public, shown, 0o644)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
                file.write(content)
        except FileExistsError:
            raise FleetError(f"{path} exists, and a key is never overwritten: move it away first") from None
        except OSError as error:
            raise FleetError(f"{path} cannot be written: {error.strerror}") from None


def read_public_keys(folder: Path) -> list[bytes]:
    """The PEM of each `*.pem` in a folder, in the order of their names.

    Raises:
        FleetError: one of them is not an ed25519 public key.
    """
    found = []
    for path in sorted(folder.glob("*.pem")):
        content = path.read_bytes()
        _public(content, str(path))
        found.append(content)
    return found


async def sign(registry: Registry, name: str, digest: str, private: Path) -> str:
    """Add a signature to a version; returns the digest of the manifest with all its signatures.

    Raises:
        FleetError: the key cannot be used, or the registry fails.
    """
    key = _private(private)
    critical = {
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    payload = msgspec.json.encode(critical)
    value = base64.b64encode(key.sign(payload)).decode()
    layer = Descriptor(
        media_type=PAYLOAD_TYPE, digest=digest_of(payload), size=len(payload), annotations={SIGNATURE: value}
    )
    before = await _signature_manifest(registry, name, digest)
    layers = [*(before.layers if before is not None else ())]
    if all(known.annotations.get(SIGNATURE) != value for known in layers):
        layers.append(layer)
    await registry.put_blob(name, layer.digest, payload)
    await registry.put_blob(name, digest_of(_CONFIG), _CONFIG)
    config = Descriptor(media_type=_CONFIG_TYPE, digest=digest_of(_CONFIG), size=len(_CONFIG))
    manifest = Manifest(schema_version=2, media_type=MANIFEST_TYPE, config=config, layers=layers)
    return await registry.put_manifest(name, signature_tag(digest), encode_manifest(manifest))


async def read_signatures(registry: Registry, name: str, digest: str) -> list[Signature]:
    """The version's signatures in the registry, not verified yet."""
    manifest = await _signature_manifest(registry, name, digest)
    found = []
    for layer in (manifest.layers if manifest is not None else ())[:_MAX_SIGNATURES]:
        if layer.size > _MAX_PAYLOAD_BYTES or SIGNATURE not in layer.annotations:
            continue
        payload = b"".join([chunk async for chunk in registry.read_blob(name, layer.digest)])
        try:
            value = base64.b64decode(layer.annotations[SIGNATURE], validate=True)
        except ValueError:
            continue
        found.append(Signature(payload, value))
    return found


def verify(signatures: list[Signature], digest: str, trusted: list[bytes]) -> None:
    """Check that one of the trusted keys signed this digest.

    Args:
        signatures: from the registry.
        digest: of the version's manifest.
        trusted: public keys in PEM.

    Raises:
        FleetError: none did; the message says whether it is unsigned, or signed by others.
    """
    if not signatures:
        raise FleetError(f"{digest[:19]}… is not signed: bongsu models sign NAME:VERSION")
    for signature in signatures:
        for pem in trusted:
            if _is_valid(signature, digest, _public(pem, "a trusted key")):
                return
    raise FleetError(
        f"{digest[:19]}… has {len(signatures)} signature(s), but none of it by a trusted key ({len(trusted)} known)"
    )


def signature_tag(digest: str) -> str:
    """The tag under which cosign stores a manifest's signatures."""
    return f"{digest.replace(':', '-')}.sig"


def is_signature_tag(tag: str) -> bool:
    """Whether a tag is for signatures, not a version."""
    return tag.startswith("sha256-") and tag.endswith(".sig")


def _is_valid(signature: Signature, digest: str, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(signature.value, signature.payload)
        return msgspec.json.decode(signature.payload, type=_Payload).critical.image.digest == digest
    except (InvalidSignature, msgspec.MsgspecError):
        return False


async def _signature_manifest(registry: Registry, name: str, digest: str) -> Manifest | None:
    if await registry.resolve(name, signature_tag(digest)) is None:
        return None
    return decode_manifest(await registry.read_manifest(name, signature_tag(digest)))


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), _passphrase())
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}: bongsu models keygen writes a key") from None
    except (ValueError, TypeError) as error:
        raise FleetError(
            f"{path} is not a private key in PEM, or BONGSU_SIGNING_PASSPHRASE is wrong: {error}"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise FleetError(f"{path} is not an ed25519 key: bongsu models keygen writes one")
    return key


def _passphrase() -> bytes | None:
    given = os.environ.get("BONGSU_SIGNING_PASSPHRASE")
    return given.encode() if given else None


def _public(pem: bytes, where: str) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise FleetError(f"{where} is not a public key in PEM: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise FleetError(f"{where} is not an ed25519 key: bongsu models keygen writes one")
    return key
