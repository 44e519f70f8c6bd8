"""The endpoints of incidents: lists, a single one, its picture, and its review."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import HTTPException
from msgspec import Meta, Struct

from api import filters, schemas, views
from api.openapi import answers, json_body
from api.pictures import Jpeg, picture
from api.site import AsCaller, AtSite, Site, find_incident, no_incident
from functions.event import HAZARDS
from store.queries import Wanted
from store.records import Incident, Verdict
from web.answers import GeoJson, answer_json, caching, read_body
from web.keys import Caller

log = structlog.get_logger()
router = APIRouter(tags=["incidents"])

NOTE_MAX = 1000


class ReviewBody(Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's review of an incident."""

    verdict: Verdict
    note: Annotated[str, Meta(max_length=NOTE_MAX)] = ""


def operator(caller: AsCaller) -> Caller:
    """The caller, if they may review.

    Raises:
        HTTPException: 401 without a key, 403 with a key that may only read.
    """
    if caller.role is None:
        raise HTTPException(
            401, "reviewing needs an operator's key: send Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
        )
    if caller.role != "operator":
        raise HTTPException(403, f"key {caller.name!r} may only read: reviewing needs an operator's key")
    return caller


AsOperator = Annotated[Caller, Depends(operator)]


@router.get(
    "/api/incidents",
    response_class=GeoJson,
    response_model=schemas.Incidents,
    responses=answers(200, 304, 401, 422, 429, 503),
)
async def list_incidents(
    site: AtSite,
    request: Request,
    *,
    hazard: filters.HazardsQuery = [],  # noqa: B006 - FastAPI copies it
    since: filters.SinceQuery = None,
    until: filters.UntilQuery = None,
    bbox: filters.BboxQuery = [],  # noqa: B006
    camera: filters.CameraQuery = None,
    status: filters.StatusesQuery = [],  # noqa: B006
    limit: filters.LimitQuery = 200,
    cursor: filters.CursorQuery = None,
) -> Response:
    """Incidents, last seen first, as a GeoJSON FeatureCollection.

    `next` is the `cursor` of the page after this one, null on the last. Start the live stream at `revision`.
    """
    wanted = Wanted(
        hazards=hazard or HAZARDS,
        since=since,
        until=until,
        bbox=filters.box_of(bbox),
        camera=camera or None,
        statuses=frozenset(status) or None,
        after=filters.parse_cursor(cursor),
        limit=limit,
    )
    found = await site.store.incidents.find(wanted)
    quiet_s = site.settings.quiet_s
    features = [views.incident_feature(item, quiet_s, prefix=site.prefix) for item in found.items]
    following = filters.show_cursor(found.next)
    content = views.collection(features, revision=found.revision, quiet_s=quiet_s, next=following)
    return answer_json(request, site, content)


@router.get(
    "/api/incidents/{incident_id}",
    response_class=GeoJson,
    response_model=schemas.Incident,
    responses=answers(200, 304, 401, 404, 422, 429, 503),
)
async def show_incident(site: AtSite, request: Request, incident_id: filters.IncidentId, caller: AsCaller) -> Response:
    """One incident as a GeoJSON Feature, with the stages that its first sighting passed, and its first post."""
    incident = await find_incident(site, incident_id)
    is_operator = caller.role == "operator"
    feature = views.incident_feature(incident, site.settings.quiet_s, prefix=site.prefix, for_operator=is_operator)
    sighting = await site.store.sightings.first_of(incident.id)
    posts = await site.store.posts.of_incident(incident.id)
    feature["properties"]["stages"] = None if sighting is None else views.stages(sighting.stages, posts)
    return answer_json(request, site, feature)


@router.get(
    "/api/incidents/{incident_id}/snapshot", response_class=Jpeg, responses=answers(200, 304, 401, 404, 422, 429, 503)
)
async def show_snapshot(
    site: AtSite,
    request: Request,
    incident_id: filters.IncidentId,
    caller: AsCaller,
    *,
    v: filters.VersionQuery = None,
    size: filters.SizeQuery = None,
) -> Response:
    """The incident's mosaicked picture. Its address in the incident names the picture, and may be cached."""
    incident = await find_incident(site, incident_id)
    if incident.snapshot_key is None or (incident.is_held and caller.role != "operator"):
        raise HTTPException(404, f"incident {incident_id} has no picture: it was withheld, or is not ready yet")
    is_lasting = v == str(incident.revision) and not incident.is_held
    return await picture(request, site, incident.snapshot_key, is_lasting=is_lasting, is_small=size == "small")


@router.post(
    "/api/incidents/{incident_id}/review",
    response_class=GeoJson,
    response_model=schemas.Incident,
    responses=answers(401, 403, 404, 413, 415, 422, 429, 503),
    openapi_extra=json_body(ReviewBody, {"verdict": "false_alarm", "note": "a street lamp"}),
)
async def review_incident(
    site: AtSite, request: Request, incident_id: filters.IncidentId, caller: AsOperator
) -> Response:
    """Review an incident: `acknowledged`, or `false_alarm`, which closes it. The live stream sends the change.

    Where its alert is held, `acknowledged` publishes it and `false_alarm` rejects it.
    """
    body = await read_body(request, ReviewBody, '{"verdict": "acknowledged" or "false_alarm", "note": ""}')
    incident = await site.store.reviews.give(incident_id, body.verdict, by=caller.name or "", note=body.note.strip())
    log.info("incident_reviewed", incident=incident_id, verdict=body.verdict, by=caller.name)
    return _reviewed(site, incident, incident_id)


@router.delete(
    "/api/incidents/{incident_id}/review",
    response_class=GeoJson,
    response_model=schemas.Incident,
    responses=answers(401, 403, 404, 422, 429, 503),
)
async def withdraw_review(site: AtSite, incident_id: filters.IncidentId, caller: AsOperator) -> Response:
    """Withdraw a review. The live stream sends the change. An alert that was held and is not out is held again."""
    incident = await site.store.reviews.withdraw(incident_id)
    log.info("review_withdrawn", incident=incident_id, by=caller.name)
    return _reviewed(site, incident, incident_id)


def _reviewed(site: Site, incident: Incident | None, incident_id: int) -> Response:
    if incident is None:
        raise no_incident(incident_id)
    headers = caching(site) | {"Cache-Control": "no-store"}
    feature = views.incident_feature(incident, site.settings.quiet_s, prefix=site.prefix, for_operator=True)
    return GeoJson(views.encode(feature), headers=headers)
