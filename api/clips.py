"""The endpoints of sealed clips: edge nodes ask which are wanted and send them, operators fetch them.

Nothing here can open a clip: the key for that is in no service. The page does so in the operator's browser.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from prometheus_client import Counter
from pydantic import Field
from typing_extensions import TypedDict

from api import filters, views
from api.openapi import answers
from api.schemas import Time
from api.site import AsCaller, AtSite, Site, find_incident
from functions.clip import BYTES_MAX, ClipName, name_in
from store.clips import MARGIN, Clips, StoredClip
from store.queries import Wanted
from store.records import Incident
from web.answers import Json
from web.keys import Caller

log = structlog.get_logger()
router = APIRouter(tags=["clips"])

clips_stored_total = Counter("bongsu_clips_stored_total", "Sealed clips that edge nodes sent")

_PAGE = 1000
NO_STORE = {"Cache-Control": "no-store"}


class SealedClip(TypedDict):
    """A clip of an incident; only the private key opens it."""

    start: Time
    end: Time
    bytes: int
    url: Annotated[str, Field(description="Address of the sealed file.")]


class ClipList(TypedDict):
    """The clips of an incident."""

    clips: list[SealedClip]


class Sealed(Response):
    """A sealed clip."""

    media_type = "application/octet-stream"


def operator(caller: AsCaller) -> Caller:
    """The caller, if they are an operator.

    Raises:
        HTTPException: 401 without a key, 403 with another's.
    """
    return _require(caller, "operator", "clips are for operators")


def node(caller: AsCaller) -> Caller:
    """The caller, if it is an edge node.

    Raises:
        HTTPException: 401 without a key, 403 with another's.
    """
    return _require(caller, "node", "only edge nodes send clips")


def _require(caller: Caller, role: str, why: str) -> Caller:
    if caller.role is None:
        raise HTTPException(401, f"{why}: send Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
    if caller.role != role:
        raise HTTPException(403, f"{why}: key {caller.name!r} has the role {caller.role}, not {role}")
    return caller


def described(clips: Sequence[StoredClip], url_of: Callable[[ClipName], str]) -> Response:
    """The answer that lists clips, sealed or public, each with its address."""
    content = [
        {
            "start": views.timestamp(one.name.start),
            "end": views.timestamp(one.name.end),
            "bytes": one.size,
            "url": url_of(one.name),
        }
        for one in clips
    ]
    return Json(views.encode({"clips": content}), headers=NO_STORE)


AsOperator = Annotated[Caller, Depends(operator)]
AsNode = Annotated[Caller, Depends(node)]
ClipFile = Annotated[str, Path(description="The last part of the clip's address.")]


@router.get(
    "/api/incidents/{incident_id}/clips",
    response_class=Json,
    response_model=ClipList,
    responses=answers(401, 403, 404, 422, 429, 503),
)
async def list_clips(site: AtSite, incident_id: filters.IncidentId, caller: AsOperator) -> Response:
    """The sealed clips of an incident, oldest first; empty while its edge node has sent none."""
    incident = await find_incident(site, incident_id)
    since, until = _span(incident, site)
    found = [] if site.clips is None else await site.clips.find(incident.camera, since, until)
    return described(found, lambda name: f"{site.prefix}/api/incidents/{incident_id}/clips/{quote(name.file)}")


@router.get(
    "/api/incidents/{incident_id}/clips/{file}",
    response_class=Sealed,
    responses=answers(401, 403, 404, 422, 429, 503),
)
async def fetch_clip(site: AtSite, incident_id: filters.IncidentId, file: ClipFile, caller: AsOperator) -> Response:
    """One sealed clip. `bongsu originals decrypt` or the page opens it with the private key."""
    incident = await find_incident(site, incident_id)
    name = ClipName.parse(f"{incident.camera}/{file}")
    is_theirs = name is not None and name.meets(*_span(incident, site))
    sealed = await site.clips.get(name) if site.clips is not None and name is not None and is_theirs else None
    if sealed is None:
        raise HTTPException(404, f"incident {incident_id} has no such clip: it was deleted, or never came")
    log.info("clip_fetched", incident=incident_id, by=caller.name)
    return Sealed(sealed, headers=NO_STORE)


@router.get("/api/clips/wanted", include_in_schema=False)
async def wanted_clips(site: AtSite, caller: AsNode, since: filters.SinceQuery = None) -> Response:
    """Cameras and times of which clips are wanted: of incidents last seen since then."""
    _store_of(site)
    spans = [
        {"camera": incident.camera, "since": views.timestamp(start), "until": views.timestamp(end)}
        async for incident in _incidents(site, Wanted(since=since, limit=_PAGE))
        if not incident.is_false_alarm
        for start, end in [_span(incident, site)]
    ]
    return JSONResponse({"wanted": spans}, headers=NO_STORE)


@router.put("/api/clips/{camera}/{file}", include_in_schema=False)
async def take_clip(site: AtSite, request: Request, camera: str, file: str, caller: AsNode) -> Response:
    """Store a clip, if an incident wants it."""
    store = _store_of(site)
    name = ClipName.parse(f"{camera}/{file}")
    if name is None:
        raise HTTPException(422, f"the address must end like gate-1/START-END.sealed, got {f'{camera}/{file}'[:120]!r}")
    if not await _is_wanted(site, name):
        raise HTTPException(404, f"no incident at {camera!r} wants this clip")
    sealed = await _read_clip(request)
    if name_in(sealed) != name:
        raise HTTPException(422, "the body must be a sealed clip of this name: only these are stored")
    await store.put(name, sealed)
    clips_stored_total.inc()
    log.info("clip_stored", camera=camera, bytes=len(sealed), by=caller.name)
    return Response(status_code=204)


async def _read_clip(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BYTES_MAX:
            raise HTTPException(413, f"a clip must have at most {BYTES_MAX} bytes: lower BONGSU_CLIP_MB")
    return bytes(body)


async def _is_wanted(site: Site, name: ClipName) -> bool:
    wanted = Wanted(camera=name.camera, since=name.start - MARGIN, limit=_PAGE)
    async for incident in _incidents(site, wanted):
        if name.meets(*_span(incident, site)):
            return True
    return False


async def _incidents(site: Site, wanted: Wanted) -> AsyncIterator[Incident]:
    while True:
        found = await site.store.incidents.find(wanted)
        for incident in found.items:
            yield incident
        if found.next is None:
            return
        wanted = replace(wanted, after=found.next)


def _span(incident: Incident, site: Site) -> tuple[datetime, datetime]:
    """The time of which clips of an incident are stored."""
    longest = timedelta(seconds=site.settings.clip_incident_s)
    return incident.first_seen - MARGIN, min(incident.last_seen, incident.first_seen + longest)


def _store_of(site: Site) -> Clips:
    if site.clips is None:
        raise HTTPException(404, "BONGSU_CLIP_URL is not set: this map API takes no clips")
    return site.clips
