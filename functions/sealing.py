"""Seals files for the holder of a private key that no service has, by HPKE (RFC 9180), which a browser can open too.

Edge nodes seal clips with it; `bongsu originals decrypt` and the page's `clips.js` open them. A sealed file is a line
of text that names its kind, a line that is readable and protected from changes, and the ciphertext.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from functions.settings import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hpke import Suite

PUBLIC, PRIVATE = "bongsu-originals-public-", "bongsu-originals-private-"
"""What the written halves of a key pair begin with (X25519, `bongsu originals keygen`)."""


class SealError(Exception):
    """A sealed file cannot be opened; the message says why."""


def read_key(text: str, prefix: str) -> bytes:
    """The 32 bytes of a key in its written form.

    Raises:
        SettingsError: it is not such a key. The message does not repeat it.
    """
    text = text.strip()
    try:
        if text.startswith(prefix):
            key = base64.urlsafe_b64decode(text.removeprefix(prefix))
            if len(key) == 32:
                return key
    except (binascii.Error, ValueError):
        pass
    raise SettingsError(f"the key must be {prefix} and 44 characters, as `bongsu originals keygen` writes it")


def write_key(key: bytes, prefix: str) -> str:
    """A key in its written form."""
    return prefix + base64.urlsafe_b64encode(key).decode()


def seal(content: bytes, head: bytes, public_key: bytes) -> bytes:
    """Encrypt `content` for a public key.

    Args:
        content: what only the holder of the private key can read.
        head: bytes that stay readable before it; if anyone changes them, the file can no longer be opened.
        public_key: 32 bytes, X25519.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    return head + _suite().encrypt(content, X25519PublicKey.from_public_bytes(public_key), head)


def unseal(sealed: bytes, head: bytes, private_key: bytes) -> bytes:
    """Decrypt what `seal` made; `head` are the bytes that it begins with.

    Raises:
        SealError: it was sealed for another key, or was altered.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    try:
        key = X25519PrivateKey.from_private_bytes(private_key)
        return _suite().decrypt(sealed[len(head) :], key, head)
    except (InvalidTag, ValueError) as error:
        raise SealError("it was sealed for another key, or altered since") from error


def new_pair() -> tuple[bytes, bytes]:
    """A fresh key pair, the private half first: 32 bytes each."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    key = X25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def _suite() -> Suite:
    # A browser's WebCrypto has all three.
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
