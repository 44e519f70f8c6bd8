from __future__ import annotations

import base64
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from edge.errors import FleetError
from edge.oci.layout import LayoutRegistry
from edge.oci.manifest import decode_manifest
from edge.signing import SIGNATURE, make_key, read_public_keys, read_signatures, sign, signature_tag, verify

DIGEST = f"sha256:{'a' * 64}"


async def signed(tmp_path: Path) -> LayoutRegistry:
    make_key(tmp_path / "keys/signing.pem", tmp_path / "trusted/signing.pem")
    registry = LayoutRegistry(tmp_path / "models")
    await sign(registry, "hazard", DIGEST, tmp_path / "keys/signing.pem")
    return registry


async def test_a_signature_lies_where_cosign_looks_for_it(tmp_path: Path) -> None:
    registry = await signed(tmp_path)
    manifest = decode_manifest(await registry.read_manifest("hazard", f"sha256-{'a' * 64}.sig"))
    (layer,) = manifest.layers
    assert layer.media_type == "application/vnd.dev.cosign.simplesigning.v1+json"
    payload = b"".join([chunk async for chunk in registry.read_blob("hazard", layer.digest)])
    critical = msgspec.json.decode(payload)["critical"]
    assert critical["type"] == "cosign container image signature"
    assert critical["image"] == {"docker-manifest-digest": DIGEST}
    assert critical["identity"] == {"docker-reference": "hazard"}

    # By a program that is not ours, over exactly those bytes.
    (tmp_path / "payload").write_bytes(payload)
    (tmp_path / "signature").write_bytes(base64.b64decode(layer.annotations[SIGNATURE]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "trusted/signing.pem", "-rawin"]
    done = subprocess.run([*command, "-in", "payload", "-sigfile", "signature"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr


async def test_signing_twice_is_one_signature_and_another_key_adds_one(tmp_path: Path) -> None:
    registry = await signed(tmp_path)
    await sign(registry, "hazard", DIGEST, tmp_path / "keys/signing.pem")
    assert len(await read_signatures(registry, "hazard", DIGEST)) == 1
    make_key(tmp_path / "other.pem", tmp_path / "other/public.pem")
    await sign(registry, "hazard", DIGEST, tmp_path / "other.pem")
    found = await read_signatures(registry, "hazard", DIGEST)
    assert len(found) == 2
    verify(found, DIGEST, read_public_keys(tmp_path / "other"))
    verify(found, DIGEST, read_public_keys(tmp_path / "trusted"))


async def test_a_signature_is_of_one_digest_alone(tmp_path: Path) -> None:
    found = await read_signatures(await signed(tmp_path), "hazard", DIGEST)
    trusted = read_public_keys(tmp_path / "trusted")
    verify(found, DIGEST, trusted)
    with pytest.raises(FleetError, match="none is of it by a trusted key"):
        verify(found, f"sha256:{'b' * 64}", trusted)
    with pytest.raises(FleetError, match="none is of it by a trusted key"):
        verify(found, DIGEST, [])
    with pytest.raises(FleetError, match="is not signed"):
        verify([], DIGEST, trusted)


def test_a_key_is_for_its_owner_and_is_never_overwritten(tmp_path: Path) -> None:
    make_key(tmp_path / "a.pem", tmp_path / "b.pem")
    assert stat.S_IMODE((tmp_path / "a.pem").stat().st_mode) == 0o600
    with pytest.raises(FleetError, match="a key is never overwritten"):
        make_key(tmp_path / "a.pem", tmp_path / "c.pem")


async def test_what_is_no_key_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("hello")
    with pytest.raises(FleetError, match="is not a private key in PEM"):
        await sign(LayoutRegistry(tmp_path), "hazard", DIGEST, tmp_path / "no.pem")
    with pytest.raises(FleetError, match="bongsu models keygen writes a key"):
        await sign(LayoutRegistry(tmp_path), "hazard", DIGEST, tmp_path / "none.pem")
    with pytest.raises(FleetError, match="is not a public key in PEM"):
        read_public_keys(tmp_path)


def test_a_tag_of_signatures_is_cosigns() -> None:
    assert signature_tag(DIGEST) == f"sha256-{'a' * 64}.sig"
