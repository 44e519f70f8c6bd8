"""The captioner's signature on `captioned` events: caption signs them, map and post refuse others."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import msgspec

from functions.event import Captioned
from functions.settings import Environment, SettingsError, read, split

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# cryptography is imported where a key is used, because most functions have none.
LATE_IMPORTS = ("cryptography.hazmat.primitives.asymmetric.ed25519",)

_PRIVATE, _PUBLIC = "bongsu-caption-private-", "bongsu-caption-public-"
_HOWTO = "make secrets writes it, and bongsu run makes its own (docs/deploy.md, Signed captions)"


class SignatureError(ValueError):
    """An event is not what the captioner signed; the message says why."""


class _SigningSettings(Environment, frozen=True):
    caption_key: str = ""
    """The captioner's private key, only for caption: `bongsu-caption-private-…`."""


class _ReadingSettings(Environment, frozen=True):
    caption_public_keys: str = ""
    """The public keys with which captions are verified, separated by commas: `bongsu-caption-public-…`."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs captions."""

    key: Ed25519PrivateKey

    @classmethod
    def from_environment(cls) -> Self:
        """Sign with the key in BONGSU_CAPTION_KEY.

        Raises:
            SettingsError: it is missing or not a private key.
        """
        given = read(_SigningSettings).caption_key
        if not given:
            raise SettingsError(f"BONGSU_CAPTION_KEY is not set, so no caption would be accepted: {_HOWTO}")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.from_private_bytes(_raw("BONGSU_CAPTION_KEY", given, _PRIVATE)))

    def sign(self, event: Captioned) -> Captioned:
        """A copy of the event with its signature."""
        return msgspec.structs.replace(event, signature=self.key.sign(_signed_bytes(event)))


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies the captioner's signature by any of its keys, so that a key can be changed while events wait."""

    keys: Sequence[Ed25519PublicKey]

    @classmethod
    def from_environment(cls) -> Self:
        """Verify with the keys in BONGSU_CAPTION_PUBLIC_KEYS.

        Raises:
            SettingsError: it is missing, or one of them is not a public key.
        """
        name = "BONGSU_CAPTION_PUBLIC_KEYS"
        given = split(read(_ReadingSettings).caption_public_keys)
        if not given:
            raise SettingsError(f"{name} is not set, so any caption could be forged: {_HOWTO}")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return cls([Ed25519PublicKey.from_public_bytes(_raw(name, key, _PUBLIC)) for key in given])

    def require(self, event: Captioned) -> None:
        """Check that the captioner signed an event.

        Raises:
            SignatureError: it has no signature, the signature is by another key, or the event was altered.
        """
        if not event.signature:
            raise SignatureError("no signature of the captioner: it is not accepted")
        from cryptography.exceptions import InvalidSignature

        signed = _signed_bytes(event)
        for key in self.keys:
            try:
                key.verify(event.signature, signed)
                return
            except InvalidSignature:
                continue
        raise SignatureError("not signed by a known key of the captioner, or changed since: it is not accepted")


def new_private_key() -> str:
    """A new private key, in the form of BONGSU_CAPTION_KEY."""
    return _PRIVATE + _text(secrets.token_bytes(32))


def public_key_of(private_key: str) -> str:
    """The public key of a private one, in the form of BONGSU_CAPTION_PUBLIC_KEYS.

    Raises:
        SettingsError: it is not a private key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(_raw("the captioner's key", private_key, _PRIVATE))
    return _PUBLIC + _text(key.public_key().public_bytes_raw())


def _signed_bytes(event: Captioned) -> bytes:
    """The signed fields: all but the trace, which later stages extend, and `late`, which a buffer may set."""
    return msgspec.msgpack.encode(msgspec.structs.replace(event, trace=(), late=False, signature=b""))


def _raw(name: str, key: str, prefix: str) -> bytes:
    # The message shows no key: the wrong one may be a private one.
    if not key.startswith(prefix):
        raise SettingsError(f"{name} must begin with {prefix}, got {len(key)} other characters: {_HOWTO}")
    try:
        raw = base64.urlsafe_b64decode(key.removeprefix(prefix) + "=")
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise SettingsError(f"{name} must be {prefix} and 43 characters, got {len(key)} in all: {_HOWTO}")
    return raw


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
