"""The key pair that warnings by Web Push are signed with (VAPID, RFC 8292), as text for the environment."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PRIVATE, PUBLIC = "bongsu-push-private-", "bongsu-push-public-"
"""What the two halves of a key begin with, so that neither is taken for the other."""


def new_key() -> tuple[str, str]:
    """A key pair as text: private and public."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    raw = key.private_numbers().private_value.to_bytes(32, "big")
    return f"{PRIVATE}{encode_base64(raw)}", f"{PUBLIC}{encode_base64(public_bytes(key))}"


def read_private(text: str) -> EllipticCurvePrivateKey:
    """The private key of its text.

    Raises:
        ValueError: it is not one; the message does not repeat it.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    raw = decode_base64(text.removeprefix(PRIVATE)) if text.startswith(PRIVATE) else b""
    if len(raw) != 32:
        raise ValueError(f"BONGSU_PUSH_KEY must be {PRIVATE}…: make one with `bongsu key push`")
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())


def read_public(text: str) -> bytes:
    """The public key of its text, as 65 bytes: what a browser subscribes with.

    Raises:
        ValueError: it is not one.
    """
    raw = decode_base64(text.removeprefix(PUBLIC)) if text.startswith(PUBLIC) else b""
    if len(raw) != 65 or raw[0] != 4:
        raise ValueError(f"BONGSU_PUSH_PUBLIC_KEY must be {PUBLIC}…: make one with `bongsu key push`, got {text!r:.40}")
    return raw


def public_bytes(key: EllipticCurvePrivateKey) -> bytes:
    """The public half as an uncompressed point."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def public_of(private: str) -> str:
    """The public half of a private key, as text.

    Raises:
        ValueError: it is not a private key.
    """
    return f"{PUBLIC}{encode_base64(public_bytes(read_private(private)))}"


def encode_base64(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_base64(text: str) -> bytes:
    """The bytes of base64url, padded or not.

    Raises:
        ValueError: it is not base64url.
    """
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64url: {error}") from error
