"""Where a browser is pushed to: which addresses are allowed, and how they are sealed while the database holds them.

An endpoint identifies a browser, so the database keeps it encrypted for the sender's key (RFC 8188 with ECDH on P-256,
as a push message itself): the API, which subscribes, has only the public key and cannot read back what it has sealed.
A subscription is bound to that key anyway, so no further key has to be kept.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from functions.push_keys import decode_base64, encode_base64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_CONTEXT = hashlib.sha256(b"bongsu push subscription").digest()[:16]
_HTTPS = 443


class Endpoint(Struct, frozen=True):
    """A browser's push subscription, as `PushSubscription.toJSON()` names its parts."""

    url: Annotated[str, Meta(min_length=12, max_length=2048)]
    p256dh: str
    """The browser's public key: 65 bytes, base64url."""
    auth: str
    """Its secret: 16 bytes, base64url."""

    @property
    def digest(self) -> str:
        """What the database finds it by."""
        return hashlib.sha256(self.url.encode()).hexdigest()

    @property
    def origin(self) -> str:
        """Scheme, host and port of the push service."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def require_usable(self, allowed: Collection[str] = ()) -> None:
        """Refuse what nothing may be sent to.

        Args:
            allowed: hosts, or `host:port`, that may be reached by any scheme and at any address.

        Raises:
            ValueError: the address is not https on the usual port, not public, or the keys are not keys.
        """
        require_address(self.url, allowed)
        for name, text, length in (("p256dh", self.p256dh, 65), ("auth", self.auth, 16)):
            try:
                found = len(decode_base64(text))
            except ValueError:
                found = 0
            if found != length:
                raise ValueError(f"keys.{name} must be {length} bytes in base64url: subscribe again in the browser")
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode_base64(self.p256dh))
        except ValueError:
            raise ValueError("keys.p256dh must be a point of P-256: subscribe again in the browser") from None


def require_address(url: str, allowed: Collection[str] = ()) -> None:
    """Refuse an endpoint's address that could lead to a machine of our own; what its name means is checked when sent.

    Raises:
        ValueError: as `Endpoint.require_usable`; the address itself is not repeated, since it is somebody's.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("endpoint must be an https:// address") from None
    if not host or not url.isascii() or not url.isprintable() or parts.username is not None:
        raise ValueError("endpoint must be an https:// address of plain characters, without a user")
    if host in allowed or f"{host}:{port}" in allowed:
        return
    if parts.scheme != "https" or port not in (None, _HTTPS):
        raise ValueError("endpoint must be an https:// address at port 443 (BONGSU_PUSH_ALLOW names exceptions)")
    if not is_public(host):
        raise ValueError("endpoint must be at a public address (BONGSU_PUSH_ALLOW names exceptions)")


def is_public(host: str) -> bool:
    """Whether a host may be a push service's: no address of a private network, no name without a dot."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # 2130706433, 0x7f000001 and 127.1 are addresses too, for some resolvers: a name ends in letters.
        last = host.rstrip(".").rpartition(".")[2]
        return "." in host.rstrip(".") and last[:1].isalpha() and last not in _PRIVATE_ZONES
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not (mapped or address).is_multicast


_PRIVATE_ZONES = ("local", "internal", "localhost", "lan", "home", "arpa")


def seal(endpoint: Endpoint, public: bytes) -> str:
    """Encrypt an endpoint for the holder of the private key.

    Raises:
        ValueError: `public` is not a point of P-256.
    """
    import http_ece
    from cryptography.hazmat.primitives.asymmetric import ec

    plain = msgspec.json.encode(endpoint)
    once = ec.generate_private_key(ec.SECP256R1())
    return encode_base64(
        http_ece.encrypt(plain, private_key=once, dh=public, auth_secret=_CONTEXT, version="aes128gcm")
    )


def open_sealed(sealed: str, key: EllipticCurvePrivateKey) -> Endpoint:
    """Decrypt what `seal` has encrypted.

    Raises:
        ValueError: it was sealed for another key.
    """
    import http_ece

    try:
        plain = http_ece.decrypt(decode_base64(sealed), private_key=key, auth_secret=_CONTEXT, version="aes128gcm")
    except http_ece.ECEException as error:
        raise ValueError("the subscription was made for another BONGSU_PUSH_KEY") from error
    return msgspec.json.decode(plain, type=Endpoint)
