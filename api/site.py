"""What the endpoints work with, opened once per process, and how they come to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.pipeline import PipelineFile
from api.settings import Settings
from api.stream import Hub
from store import Store, StoreError
from store.snapshots import Snapshots
from web.addresses import base_of
from web.keys import Caller, Keyring
from web.limits import Buckets, Proxies
from web.site import UnavailableError


@dataclass(frozen=True, slots=True)
class Site:
    """What the endpoints work with."""

    settings: Settings
    store: Store
    snapshots: Snapshots
    pipeline: PipelineFile
    hub: Hub
    keys: Keyring
    requests: Buckets
    """Tokens for whatever is asked."""
    failures: Buckets
    """Tokens for wrong keys: who has none left is not even heard."""
    proxies: Proxies
    identity: UUID
    """Name of the database, which identifiers that others remember are made from."""
    subscribers: Buckets = field(default_factory=lambda: Buckets(0))
    """Tokens for subscriptions to Web Push: few, as each is kept in the database."""

    @property
    def public_url(self) -> str:
        """Address under which readers reach the API, without a slash at its end; empty if nobody said."""
        return self.settings.public_url.rstrip("/")

    @property
    def prefix(self) -> str:
        """Path of the public URL, such as `/cctv`; empty where the service has a host of its own."""
        return urlsplit(self.public_url).path

    @property
    def cookie_path(self) -> str:
        """Where a cookie is sent: here, and to no other service of the same host."""
        return self.prefix or "/"

    @property
    def is_read_by_key(self) -> bool:
        """Whether a reader needs a key."""
        return self.settings.api_read == "key"

    async def signed_in_as(self, token_digest: str) -> str | None:
        """Digest of the key that signed in with this cookie's token; None where there is no such sign-in.

        Raises:
            UnavailableError: the database does not answer.
        """
        try:
            return await self.store.signins.key_of(token_digest)
        except StoreError as error:
            raise UnavailableError(str(error)) from error


def _site(connection: HTTPConnection) -> Site:
    return cast(Site, connection.app.state.site)


def _base(connection: HTTPConnection) -> str:
    return base_of(connection.scope, connection.headers, _site(connection))


def _caller(connection: HTTPConnection) -> Caller:
    return cast(Caller, connection.scope["bongsu.caller"])


AtSite = Annotated[Site, Depends(_site)]
AtBase = Annotated[str, Depends(_base)]
"""What this service's addresses begin with for who asks, without a slash at the end."""
AsCaller = Annotated[Caller, Depends(_caller)]
