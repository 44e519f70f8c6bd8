"""Responses with a public picture from the snapshot store."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.exceptions import HTTPException

from api.site import Site
from web.answers import answer_text


class Jpeg(Response):
    """A picture."""

    media_type = "image/jpeg"


async def picture(request: Request, site: Site, key: str, *, is_lasting: bool, is_small: bool = False) -> Response:
    """A public picture with an ETag; 304 if the client has it already.

    Args:
        request: the request.
        site: the service.
        key: the picture's key.
        is_lasting: as in `caching`.
        is_small: return the thumbnail, or the full picture if there is none.

    Raises:
        HTTPException: 404, the picture is no longer kept.
    """
    redacted = await (site.snapshots.get_thumbnail(key) if is_small else site.snapshots.get(key))
    if redacted is None:
        raise HTTPException(404, "the picture is no longer kept")
    return answer_text(request, site, redacted.jpeg, Jpeg.media_type, is_lasting=is_lasting)
