"""Answers with a public picture from the snapshot store."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.exceptions import HTTPException

from api.site import Site
from web.answers import answer_text


class Jpeg(Response):
    """A picture."""

    media_type = "image/jpeg"


async def picture(request: Request, site: Site, key: str, *, is_lasting: bool, is_small: bool = False) -> Response:
    """A public picture under an ETag; 304 where the client has it already.

    Args:
        request: what is answered.
        site: whose answer.
        key: of the picture.
        is_lasting: as in `caching`.
        is_small: the thumbnail, or the whole picture where there is none.

    Raises:
        HTTPException: 404, it is no longer kept.
    """
    redacted = await (site.snapshots.get_thumbnail(key) if is_small else site.snapshots.get(key))
    if redacted is None:
        raise HTTPException(404, "the picture is no longer kept")
    return answer_text(request, site, redacted.jpeg, Jpeg.media_type, is_lasting=is_lasting)
