"""What the endpoints work with, opened once per process, and how they come to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from notify.map.keys import Caller, Keyring
from notify.map.limits import Buckets, Proxies
from notify.map.pipeline import PipelineFile
from notify.map.snapshots import Snapshots
from notify.map.store import Store
from notify.map.stream import Hub
from notify.settings import Settings


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


def _site(connection: HTTPConnection) -> Site:
    return cast(Site, connection.app.state.site)


def _caller(connection: HTTPConnection) -> Caller:
    return cast(Caller, connection.scope["bongsu.caller"])


AtSite = Annotated[Site, Depends(_site)]
AsCaller = Annotated[Caller, Depends(_caller)]
