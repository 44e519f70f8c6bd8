"""Responses of endpoints: bodies with an ETag, and one-line reasons; and the request bodies that they accept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from web.site import Site

_BODY_MAX = 16_384
_BODY_S = 30

T = TypeVar("T")


class Json(JSONResponse):
    """JSON that is encoded already. FastAPI documents its model only because this is a `JSONResponse`."""

    def render(self, content: Any) -> bytes:
        """The body, unchanged."""
        return cast(bytes, content)


class GeoJson(Json):
    """GeoJSON (RFC 7946)."""

    media_type = "application/geo+json"


def answer_json(request: Request, site: Site, content: Any, media_type: str = GeoJson.media_type) -> Response:
    """JSON with an ETag; 304 if the client has it already."""
    return answer_text(request, site, msgspec.json.encode(content), media_type)


def answer_text(
    request: Request, site: Site, body: bytes, media_type: str, *, is_lasting: bool = False, same: bytes | None = None
) -> Response:
    """A body under an ETag; 304 where the client has it already.

    Args:
        request: what is answered.
        site: whose answer.
        body: what is sent.
        media_type: what it is.
        is_lasting: as in `caching`.
        same: what stays the same of a body that says when it was sent: the (weak) ETag is made from it.
    """
    etag = f'"{hashlib.blake2b(body if same is None else same, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag if same is None else f"W/{etag}", **caching(site, is_lasting=is_lasting)}
    if _is_known(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def caching(site: Site, *, is_lasting: bool = False) -> dict[str, str]:
    """The `Cache-Control` of an answer: one that needs a key must not be in a shared cache.

    Args:
        site: the service that answers.
        is_lasting: the content of this address never changes.
    """
    if site.is_read_by_key:
        how_long = "private, max-age=86400, immutable" if is_lasting else "private, no-cache"
        return {"Cache-Control": how_long, "Vary": "Authorization, Cookie"}
    return {"Cache-Control": "public, max-age=86400, immutable" if is_lasting else "no-cache"}


@contextlib.asynccontextmanager
async def body_in_time() -> AsyncIterator[None]:
    """Around the reading of a body.

    Raises:
        HTTPException: 408, the client sends it too slowly.
    """
    try:
        async with asyncio.timeout(_BODY_S):
            yield
    except TimeoutError:
        raise HTTPException(408, f"the body must come within {_BODY_S} s", {"Connection": "close"}) from None


async def read_body(request: Request, kind: type[T], example: str) -> T:
    """Read a JSON request body.

    Args:
        request: with the body.
        kind: the type to decode it as.
        example: a valid body, for the error message.

    Raises:
        HTTPException: 415, 413, 408 or 422: it has the wrong type, is too long or too slow, or is not such a body.
    """
    # A form on another site cannot send this type, so a page that an operator visits cannot write in their name.
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, f"Content-Type must be application/json, got {given[:80]!r}")
    body = b""
    async with body_in_time():
        async for part in request.stream():
            body += part
            if len(body) > _BODY_MAX:
                raise HTTPException(413, f"the body must have at most {_BODY_MAX} bytes: shorten it")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HTTPException(422, f"the body must be like {example}: {error}") from error


def _is_known(known: str, etag: str) -> bool:
    return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
