"""The endpoints of public clips: every picture of them is redacted, and who may read incidents may play them.

`notify/clips.py` makes them. One is shown only as long as the incident is public: not of a false alarm, and not while
an alert is held back.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import HTTPException
from pydantic import Field
from typing_extensions import TypedDict

from api import filters
from api.clips import NO_STORE, described
from api.openapi import answers
from api.schemas import Time
from api.site import AtSite, Site, find_incident
from functions.clip import SUFFIX, ClipName
from store.clips import MARGIN
from store.public_clips import SUFFIX as MP4
from store.records import Incident
from web.answers import Json

router = APIRouter(tags=["clips"])

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class PublicClip(TypedDict):
    """A clip of an incident, with faces and heads pixelated in every picture."""

    start: Time
    end: Time
    bytes: int
    url: Annotated[str, Field(description="Address of the MP4 (H.264, no sound).")]


class PublicClipList(TypedDict):
    """The public clips of an incident."""

    clips: list[PublicClip]


class Video(Response):
    """A public clip."""

    media_type = "video/mp4"


@router.get(
    "/api/incidents/{incident_id}/videos",
    response_class=Json,
    response_model=PublicClipList,
    responses=answers(401, 404, 422, 429, 503),
)
async def list_public_clips(site: AtSite, incident_id: filters.IncidentId) -> Response:
    """The mosaicked clips of an incident, oldest first; empty while none is made, and where none are."""
    incident = await find_incident(site, incident_id)
    found = []
    if site.public_clips is not None and incident.is_public:
        found = await site.public_clips.find(incident.camera, incident.first_seen - MARGIN, incident.last_seen)
    return described(found, lambda name: f"{site.prefix}/api/incidents/{incident_id}/videos/{quote(_file_of(name))}")


@router.get(
    "/api/incidents/{incident_id}/videos/{file}",
    response_class=Video,
    responses=answers(401, 404, 422, 429, 503),
)
async def fetch_public_clip(
    site: AtSite,
    request: Request,
    incident_id: filters.IncidentId,
    file: Annotated[str, Path(description="The last part of the clip's address.")],
) -> Response:
    """One mosaicked clip; a browser may ask for a range of its bytes."""
    incident = await site.store.incidents.get(incident_id)
    name = None if incident is None else _name_of(incident, file)
    is_shown = incident is not None and incident.is_public and name is not None
    mp4 = await _fetch(site, name) if is_shown and name is not None else None
    if mp4 is None:
        raise HTTPException(404, f"incident {incident_id} has no such clip: it was withdrawn or deleted, or never made")
    return _part(mp4, request.headers.get("range", ""))


async def _fetch(site: Site, name: ClipName) -> bytes | None:
    video = None if site.public_clips is None else await site.public_clips.get(name)
    return None if video is None else video.mp4


def _file_of(name: ClipName) -> str:
    return name.file.removesuffix(SUFFIX) + MP4


def _name_of(incident: Incident, file: str) -> ClipName | None:
    """The clip of this incident that the file names; None if it is none of them."""
    name = ClipName.parse(f"{incident.camera}/{file.removesuffix(MP4)}{SUFFIX}") if file.endswith(MP4) else None
    shows = name is not None and name.meets(incident.first_seen - MARGIN, incident.last_seen)
    return name if shows else None


def _part(mp4: bytes, wanted: str) -> Response:
    """All of it, or the range that a player asks for: Safari plays only what it can ask for in parts (RFC 9110)."""
    headers = {**NO_STORE, "Accept-Ranges": "bytes"}
    found = _RANGE.fullmatch(wanted)
    if found is None or found.groups() == ("", ""):
        return Video(mp4, headers=headers)
    size, (first, last) = len(mp4), found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Video(mp4[start : end + 1], 206, headers=headers)
