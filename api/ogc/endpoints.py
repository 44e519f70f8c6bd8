"""The endpoints of OGC API - Features under `/ogc`; what they take and give is in the definition that they serve."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException

from api import filters
from api.filters import BadQueryError
from api.ogc import definition, documents, questions
from api.ogc.documents import GEOJSON, OPENAPI, Json, link
from api.site import AtBase, AtSite, Site
from functions.event import utc_now
from store.queries import Wanted
from store.records import Camera, Incident
from web.answers import answer_json

PATH = "/ogc"
_JSON = "application/json"
# Not in `/openapi.json`: the standard wants a definition of OpenAPI 3.0, which is served here.
router = APIRouter(prefix=PATH, include_in_schema=False)


@router.get("")
@router.get("/")
async def show_landing(site: AtSite, base: AtBase, request: Request) -> Response:
    """Where everything is."""
    _check(request, questions.NO_MORE)
    return answer_json(request, site, documents.landing(base + PATH), _JSON)


@router.get("/api")
async def show_definition(site: AtSite, base: AtBase, request: Request) -> Response:
    """The definition of this API."""
    _check(request, questions.NO_MORE)
    return answer_json(request, site, definition.define(base + PATH), OPENAPI)


@router.get("/conformance")
async def show_conformance(site: AtSite, request: Request) -> Response:
    """The classes that this API conforms to."""
    _check(request, questions.NO_MORE)
    return answer_json(request, site, documents.conformance(), _JSON)


@router.get("/collections")
async def list_collections(site: AtSite, base: AtBase, request: Request) -> Response:
    """Incidents and cameras."""
    _check(request, questions.NO_MORE)
    cameras = await site.store.cameras.all()
    return answer_json(request, site, documents.collections(base + PATH, cameras), _JSON)


@router.get("/collections/incidents/items")
async def list_incidents(site: AtSite, base: AtBase, request: Request) -> Response:
    """Incidents without the false alarms, last seen first."""
    _check(request, questions.INCIDENTS)
    try:
        wish = questions.read_incident_wish(request.query_params)
    except BadQueryError as error:
        raise HTTPException(400, str(error)) from None
    wanted = Wanted(
        hazards=wish.hazards, since=wish.since, until=wish.until, bbox=wish.bbox, camera=wish.camera,
        statuses=wish.statuses, after=wish.after, limit=wish.limit,
    )  # fmt: skip
    found = await site.store.incidents.find(wanted)
    now, quiet_s = utc_now(), site.settings.quiet_s
    features = [documents.incident(item, base, quiet_s, now) for item in found.items]
    return _page(request, site, base, features, filters.show_cursor(found.next))


@router.get("/collections/incidents/items/{feature_id}")
async def show_incident(site: AtSite, base: AtBase, request: Request, feature_id: str) -> Response:
    """One incident; a false alarm is none, nor is one whose alert is held."""
    _check(request, questions.NO_MORE)
    incident = await _find_incident(site, feature_id)
    if incident is None or not incident.is_public:
        raise HTTPException(404, f"there is no incident {feature_id[:60]!r}")
    feature = documents.incident(incident, base, site.settings.quiet_s, utc_now())
    return answer_json(request, site, documents.single(feature, base + PATH, "incidents"), GEOJSON)


@router.get("/collections/cameras/items")
async def list_cameras(site: AtSite, base: AtBase, request: Request) -> Response:
    """Cameras, by id. `datetime` holds for all of them: they are there at any time."""
    _check(request, questions.CAMERAS)
    try:
        wish = questions.read_wish(request.query_params)
    except BadQueryError as error:
        raise HTTPException(400, str(error)) from None
    after = request.query_params.get("cursor", "")
    found = [
        camera
        for camera in await site.store.cameras.all()
        if camera.id > after and questions.is_within(camera.place.lon, camera.place.lat, wish.bbox)
    ]
    features = [documents.camera(camera, base) for camera in found[: wish.limit]]
    following = found[wish.limit - 1].id if len(found) > wish.limit else None
    return _page(request, site, base, features, following)


@router.get("/collections/cameras/items/{feature_id:path}")
async def show_camera(site: AtSite, base: AtBase, request: Request, feature_id: str) -> Response:
    """One camera."""
    _check(request, questions.NO_MORE)
    camera: Camera | None = await site.store.cameras.get(feature_id)
    if camera is None:
        raise HTTPException(404, f"there is no camera {feature_id[:60]!r}")
    return answer_json(request, site, documents.single(documents.camera(camera, base), base + PATH, "cameras"), GEOJSON)


@router.get("/collections/{name}")
async def show_collection(site: AtSite, base: AtBase, request: Request, name: str) -> Response:
    """One collection."""
    _check(request, questions.NO_MORE)
    if name not in documents.TITLES:
        raise HTTPException(404, f"there is no collection {name[:60]!r}: see {base}{PATH}/collections")
    cameras = await site.store.cameras.all()
    return answer_json(request, site, documents.collection(base + PATH, name, cameras), _JSON)


async def _find_incident(site: Site, feature_id: str) -> Incident | None:
    try:
        return await site.store.incidents.get(filters.parse_id(feature_id))
    except BadQueryError:
        return None


def _check(request: Request, known: tuple[str, ...]) -> None:
    try:
        questions.check_names(request.query_params, known)
    except BadQueryError as error:
        raise HTTPException(400, str(error)) from None


def _page(request: Request, site: Site, base: str, features: list[Json], following: str | None) -> Response:
    """Features with links to this page and, where there is one, the next."""
    here, query = base + request.url.path, dict(request.query_params)
    links = [link("self", _address(here, query), GEOJSON)]
    if following is not None:
        links.append(link("next", _address(here, questions.without(query, "cursor") | {"cursor": following}), GEOJSON))
    links.append(link("collection", here.removesuffix("/items")))
    return answer_json(request, site, documents.page(features, links), GEOJSON)


def _address(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
