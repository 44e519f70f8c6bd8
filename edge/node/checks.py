"""A node's checks of a version: signatures and architecture."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edge.node.facts import architecture, openssl_version
from edge.node.messages import Refused


def verify_signatures(signatures: list[dict[str, str]], digest: str, trusted: list[str]) -> None:
    """Check with OpenSSL that a trusted key signed this digest.

    Args:
        signatures: `payload` and `value` of each, in Base64.
        digest: of the manifest.
        trusted: public keys in PEM.
    """
    if not signatures:
        raise Refused(f"{digest[:19]}… is not signed: bongsu models sign NAME:VERSION")
    for signature in signatures:
        payload = base64.b64decode(signature["payload"])
        if json.loads(payload)["critical"]["image"]["docker-manifest-digest"] != digest:
            continue
        if any(_is_signed(payload, base64.b64decode(signature["value"]), key) for key in trusted):
            return
    raise Refused(f"{digest[:19]}… is not signed by a trusted key ({len(trusted)} known)")


def check_architecture(manifest: dict[str, Any]) -> None:
    """Check that a model is for this node's CPU."""
    wanted = manifest.get("annotations", {}).get("org.bongsu.model.architectures", "any").split(",")
    if "any" not in wanted and architecture() not in wanted:
        raise Refused(f"wrong architecture: the model is for {', '.join(wanted)}, this node is {architecture()}")


def _is_signed(payload: bytes, signature: bytes, key: str) -> bool:
    with tempfile.TemporaryDirectory() as at:
        for name, content in (("key.pem", key.encode()), ("payload", payload), ("signature", signature)):
            (Path(at) / name).write_bytes(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "payload",
                   "-sigfile", "signature"]  # fmt: skip
        try:
            done = subprocess.run(command, cwd=at, capture_output=True, timeout=30, check=False)
        except FileNotFoundError:
            raise Refused("openssl is not installed here, and signatures need it: apt-get install openssl") from None
    if b"rawin" in done.stderr:
        raise Refused(f"{openssl_version()} is too old to check signatures: 3.0 or later is needed")
    return done.returncode == 0
