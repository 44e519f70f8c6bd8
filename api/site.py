"""The resources of the endpoints, opened once per process, and the dependencies that provide them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends
from fastapi.exceptions import HTTPException
from starlette.requests import HTTPConnection

from api.fleet_status import FleetStatusFile
from api.gateway import HookGateway
from api.pipeline import PipelineFile
from api.roads.stretches import Roads
from api.settings import Settings
from api.stream import Hub
from store import Store, StoreError
from store.clips import Clips
from store.public_clips import PublicClips
from store.records import Incident
from store.snapshots import Snapshots
from web.addresses import base_of
from web.keys import Caller, Keyring
from web.limits import Buckets, Proxies
from web.site import UnavailableError


@dataclass(frozen=True, slots=True)
class Site:
    """The resources of the endpoints."""

    settings: Settings
    store: Store
    snapshots: Snapshots
    pipeline: PipelineFile
    hub: Hub
    gateway: HookGateway
    keys: Keyring
    requests: Buckets
    """Tokens for requests, by client."""
    failures: Buckets
    """Tokens for wrong keys; a client without tokens is refused before its key is checked."""
    proxies: Proxies
    roads: Roads
    """Which roads the cameras overlook."""
    identity: UUID
    """Name of the database, a part of the identifiers that other systems store."""
    fleet: FleetStatusFile
    subscribers: Buckets = field(default_factory=lambda: Buckets(0))
    """Tokens for subscriptions to Web Push: few, as each is kept in the database."""
    clips: Clips | None = None
    """The sealed clips of incidents; None where none are stored."""
    public_clips: PublicClips | None = None
    """The mosaicked clips of incidents; None where none are made."""

    @property
    def public_url(self) -> str:
        """Address at which readers reach the API, without a slash at its end; empty if not configured."""
        return self.settings.public_url.rstrip("/")

    @property
    def prefix(self) -> str:
        """Path of the public URL, such as `/cctv`; empty if the service has its own host."""
        return urlsplit(self.public_url).path

    @property
    def cookie_path(self) -> str:
        """The cookie's path, so that other services of the same host do not get it."""
        return self.prefix or "/"

    @property
    def is_read_by_key(self) -> bool:
        """Whether reading needs a key."""
        return self.settings.api_read == "key"

    async def signed_in_as(self, token_digest: str) -> str | None:
        """Digest of the key that signed in with this cookie's token; None if there is no such sign-in.

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
"""The base of this service's addresses for the client, without a slash at the end."""
AsCaller = Annotated[Caller, Depends(_caller)]


async def find_incident(site: Site, incident_id: int) -> Incident:
    """An incident by its id.

    Raises:
        HTTPException: 404, there is none.
    """
    incident = await site.store.incidents.get(incident_id)
    if incident is None:
        raise no_incident(incident_id)
    return incident


def no_incident(incident_id: int) -> HTTPException:
    """The answer where there is no incident of that id."""
    return HTTPException(404, f"there is no incident {incident_id}")
