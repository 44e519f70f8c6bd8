"""The endpoints of warnings by Web Push: a browser subscribes for an area, and ends that by its subscription alone."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from msgspec import Meta, Struct

from api import schemas
from api.openapi import answers, json_body
from api.site import AtSite, Site
from functions import catalogue
from functions.event import Hazard
from functions.push_keys import encode_base64, read_public
from functions.settings import split
from store.push_areas import Area
from store.push_endpoints import Endpoint, seal
from store.push_hours import QuietHours
from store.push_subscriptions import TooManyError, Wish
from web import guard
from web.answers import caching, read_body

log = structlog.get_logger()
router = APIRouter(tags=["push"])

SUBSCRIPTIONS = "/api/push/subscriptions"
UNSUBSCRIBE = "/push/unsubscribe"
"""Not below `/api/`: who has lost the key for reading must still be able to end a subscription."""

Url = Annotated[str, Meta(min_length=12, max_length=2048)]


class Keys(Struct, frozen=True, forbid_unknown_fields=True):
    """What messages to a browser are encrypted with."""

    p256dh: Annotated[str, Meta(max_length=100)]
    auth: Annotated[str, Meta(max_length=40)]


class PushBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A subscription, as `PushSubscription.toJSON()` has it, and what it is for."""

    endpoint: Url
    keys: Keys
    hazards: Annotated[tuple[Hazard, ...], Meta(min_length=1, max_length=20)]
    area: Area
    language: Annotated[str, Meta(min_length=2, max_length=8)] = "en"
    quiet: QuietHours | None = None


class UnsubscribeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The subscription that ends."""

    endpoint: Url


_EXAMPLE = {
    "endpoint": "https://push.example.org/v2/abc",
    "keys": {"p256dh": "BCVxsr7N_eNg…", "auth": "BTBZMqHH6r4Tts7J_aSIgg"},
    "hazards": ["fire"],
    "area": {"kind": "circle", "lat": 37.5665, "lon": 126.978, "radius_m": 2000},
    "language": "ko",
    "quiet": {"from": "22:00", "until": "07:00", "timezone": "Asia/Seoul"},
}


@router.get("/api/push", response_model=schemas.PushOffer, responses=answers(401, 429))
async def show_push(site: AtSite) -> Response:
    """The key that a browser subscribes with (`applicationServerKey`); null where no warnings are sent from here."""
    given = site.settings.push_public_key
    offer: schemas.PushOffer = {"key": encode_base64(read_public(given)) if given else None}
    return JSONResponse(offer, headers=caching(site))


@router.post(
    SUBSCRIPTIONS,
    status_code=201,
    response_model=schemas.PushState,
    responses=answers(401, 404, 413, 415, 422, 429, 503),
    openapi_extra=json_body(PushBody, _EXAMPLE),
)
async def subscribe(site: AtSite, request: Request) -> Response:
    """Warn this browser of these hazards in this area; the same endpoint again changes and renews its subscription."""
    if not site.settings.push_public_key:
        raise HTTPException(404, "no warnings are sent from here: the operator has not set BONGSU_PUSH_PUBLIC_KEY")
    body = await read_body(request, PushBody, '{"endpoint": "https://…", "keys": {…}, "hazards": […], "area": {…}}')
    endpoint = Endpoint(body.endpoint, body.keys.p256dh, body.keys.auth)
    if body.language not in (known := (*catalogue.OWN, *site.settings.language_codes)):
        raise HTTPException(422, f"language must be one of {', '.join(dict.fromkeys(known))}, got {body.language!r}")
    try:
        endpoint.require_usable(frozenset(split(site.settings.push_allow)))
        sealed = seal(endpoint, read_public(site.settings.push_public_key))
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    _take_token(site, request)
    wish = Wish(tuple(dict.fromkeys(body.hazards)), body.area, body.language, body.quiet)
    try:
        most = site.settings.push_subscriptions_max
        is_new = await site.store.push_subscriptions.put(endpoint.digest, sealed, wish, most=most)
    except TooManyError as error:
        log.error("push_subscriptions_full", most=most, fix="raise BONGSU_PUSH_SUBSCRIPTIONS_MAX")
        raise HTTPException(503, "no more subscriptions are taken here: ask the operator") from error
    # Neither the address nor the area: who wants to be warned of what is nobody's business.
    log.info("push_subscribed", is_new=is_new)
    return JSONResponse({"is_new": is_new}, 201, headers={"Cache-Control": "no-store"})


@router.post(
    UNSUBSCRIBE,
    status_code=204,
    responses=answers(413, 415, 422, 429, 503),
    openapi_extra=json_body(UnsubscribeBody, {"endpoint": "https://push.example.org/v2/abc"}),
)
async def unsubscribe(site: AtSite, request: Request) -> Response:
    """End a subscription, and delete all that is stored about it; takes nothing but the endpoint, which is secret."""
    client = guard.client_of(request.scope, request.headers, site)
    if wait_s := site.requests.take(client):
        raise _too_many(wait_s)
    body = await read_body(request, UnsubscribeBody, '{"endpoint": "https://…"}')
    was_there = await site.store.push_subscriptions.remove(Endpoint(body.endpoint, "", "").digest)
    log.info("push_unsubscribed", was_there=was_there)
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def _take_token(site: Site, request: Request) -> None:
    client = guard.client_of(request.scope, request.headers, site)
    if wait_s := site.subscribers.take(client):
        raise _too_many(wait_s)


def _too_many(wait_s: float) -> HTTPException:
    headers = {"Retry-After": f"{wait_s:.0f}"}
    return HTTPException(429, "too many subscriptions from here today: try again later", headers)
