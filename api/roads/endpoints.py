"""The endpoints of road feeds: what is open now of accidents and fires, where cameras overlook a road."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import HTTPException

from api import schemas_feeds
from api.openapi import answers
from api.roads import cifs, datex
from api.roads.stretches import Stretch
from api.site import AtBase, AtSite, Site
from functions.event import utc_now
from functions.hazards import HAZARDS, KINDS
from store.queries import Wanted
from store.records import Incident
from web.answers import Json, answer_json, answer_text

router = APIRouter(tags=["roads"])

_LENGTH = 1000
_HAZARDS = tuple(hazard for hazard in HAZARDS if KINDS[hazard].road is not None)

Confirmed = Annotated[bool, Query(description="Only what a person has confirmed.")]


class PlainJson(Json):
    """JSON."""

    media_type = "application/json"


class DatexXml(Response):
    """DATEX II, which has no media type of its own."""

    media_type = "application/xml"


@router.get(
    "/cifs.json",
    response_class=PlainJson,
    response_model=schemas_feeds.Cifs,
    responses=answers(200, 304, 401, 404, 422, 429, 503),
)
async def show_cifs(site: AtSite, request: Request, confirmed: Confirmed = False) -> Response:
    """Accidents and fires on roads as Waze's CIFS: those that are open. Needs `BONGSU_ROADS`."""
    found = await _find(site, confirmed=confirmed)
    body = cifs.feed(found, site.identity, site.settings.quiet_s, site.settings.language_codes[0])
    return answer_json(request, site, body, PlainJson.media_type)


@router.get("/datex.xml", response_class=DatexXml, responses=answers(200, 304, 401, 404, 422, 429, 503))
async def show_datex(site: AtSite, base: AtBase, request: Request, confirmed: Confirmed = False) -> Response:
    """Accidents and fires on roads as a DATEX II v3 SituationPublication: those that are open. Needs `BONGSU_ROADS`."""
    found, now, kept = await _find(site, confirmed=confirmed), utc_now(), site.settings
    body, same = (
        datex.publication(
            found, base=base, site=site.identity, quiet_s=kept.quiet_s, status=kept.cap_status, country=kept.country,
            sender=kept.cap_sender, at=at,
        )
        for at in (now, now.min.replace(tzinfo=now.tzinfo))
    )  # fmt: skip
    return answer_text(request, site, body, DatexXml.media_type, same=same)


async def _find(site: Site, *, confirmed: bool) -> list[tuple[Incident, Stretch]]:
    """Open incidents of road hazards at cameras that overlook a road, newest first.

    Raises:
        HTTPException: 404 where nobody said which cameras do.
    """
    if not site.roads.is_given:
        raise HTTPException(404, "there is no road feed: BONGSU_ROADS must name a GeoJSON file of roads (docs/city.md)")
    stretches, now = site.roads.now(), utc_now()
    listed = await site.store.incidents.find(Wanted(hazards=_HAZARDS, statuses=frozenset({"open"}), limit=_LENGTH))
    return [
        (incident, stretches[incident.camera])
        for incident in listed.items
        if incident.camera in stretches
        and incident.is_open(now, site.settings.quiet_s)
        and (incident.review is not None or not confirmed)
    ]
