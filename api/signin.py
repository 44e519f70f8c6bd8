"""The endpoints of signing in: a key is sent once and exchanged for a cookie that scripts cannot read."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from msgspec import Meta, Struct

from api import schemas
from api.openapi import answers, json_body
from api.site import AsCaller, AtSite
from functions.event import utc_now
from web import addresses, guard
from web.answers import read_body
from web.keys import digest_of

log = structlog.get_logger()
router = APIRouter(tags=["session"])

PATH = "/api/session"
"""The path that exchanges a key for a cookie, open to clients without one."""
_LASTS = timedelta(hours=12)
_PRIVATE = {"Cache-Control": "no-store"}


class KeyBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The key to sign in with."""

    key: Annotated[str, Meta(min_length=1, max_length=200)]


@router.post(
    PATH,
    response_model=schemas.Session,
    responses=answers(401, 413, 415, 422, 429, 503),
    openapi_extra=json_body(KeyBody, {"key": "bongsu_…"}),
)
async def sign_in(site: AtSite, request: Request) -> Response:
    """Open a session of twelve hours with a key."""
    body = await read_body(request, KeyBody, '{"key": "bongsu_…"}')
    client = guard.client_of(request.scope, request.headers, site)
    key = guard.check_key(body.key, client, site)
    token = secrets.token_urlsafe(32)
    await site.store.signins.open(digest_of(token), key.digest, utc_now() + _LASTS)
    log.info("session_opened", by=key.name, role=key.role)
    content = {"name": key.name, "role": key.role, "read": site.settings.api_read}
    answer = JSONResponse(content, headers=_PRIVATE)
    answer.set_cookie(
        guard.COOKIE,
        token,
        max_age=int(_LASTS.total_seconds()),
        httponly=True,
        samesite="strict",
        path=site.cookie_path,
        secure=addresses.is_secure(request.scope, request.headers, site),
    )
    return answer


@router.get(PATH, response_model=schemas.Session, responses=answers(401, 429, 503))
async def show_session(site: AtSite, caller: AsCaller) -> Response:
    """Who is signed in, and whether a key is needed."""
    content: dict[str, Any] = {"name": caller.name, "role": caller.role, "read": site.settings.api_read}
    if site.clips is not None and caller.role == "operator":
        content["clips"] = True
    if site.public_clips is not None:
        content["videos"] = True
    return JSONResponse({**content, "reviews": site.keys.has_operator}, headers=_PRIVATE)


@router.delete(PATH, status_code=204, responses=answers(401, 429, 503))
async def sign_out(site: AtSite, request: Request) -> Response:
    """End the session of the cookie, if there is one."""
    token = guard.cookie_token(request.headers)
    if token is not None:
        await site.store.signins.close(digest_of(token))
    answer = Response(status_code=204, headers=_PRIVATE)
    answer.delete_cookie(guard.COOKIE, path=site.cookie_path, httponly=True, samesite="strict")
    return answer
