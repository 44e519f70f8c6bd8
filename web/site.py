"""The protocol by which guard and answers know a service; each service has its own class for it."""

from __future__ import annotations

from typing import Protocol

from web.keys import Keyring
from web.limits import Buckets, Proxies


class UnavailableError(Exception):
    """Sign-ins cannot be looked up now; safe to retry."""


class Site(Protocol):
    """One HTTP service."""

    @property
    def keys(self) -> Keyring:
        """The keys that it accepts."""

    @property
    def requests(self) -> Buckets:
        """Tokens for requests, by client."""

    @property
    def failures(self) -> Buckets:
        """Tokens for wrong keys, by client; a client without tokens is refused before its key is checked."""

    @property
    def proxies(self) -> Proxies:
        """The proxies whose forwarding headers are trusted."""

    @property
    def public_url(self) -> str:
        """Address at which clients reach it, without a slash at its end; empty if not configured."""

    @property
    def is_read_by_key(self) -> bool:
        """Whether reading needs a key."""

    async def signed_in_as(self, token_digest: str) -> str | None:
        """Digest of the key that signed in with this cookie's token; None if there is no such sign-in.

        Raises:
            UnavailableError: it cannot be looked up now.
        """
