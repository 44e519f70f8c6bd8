"""What the endpoints work with, opened once per process, and how they come to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.pipeline import PipelineFile
from api.settings import Settings
from api.stream import Hub
from store import Store, StoreError
from store.snapshots import Snapshots
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

    @property
    def public_url(self) -> str:
        """Address under which readers reach the API, without a slash at its end; empty if nobody said."""
        return self.settings.public_url.rstrip("/")

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


def _caller(connection: HTTPConnection) -> Caller:
    return cast(Caller, connection.scope["bongsu.caller"])


AtSite = Annotated[Site, Depends(_site)]
AsCaller = Annotated[Caller, Depends(_caller)]
