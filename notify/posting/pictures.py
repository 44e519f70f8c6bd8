"""The pictures of a post, in order, with their alternative texts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from functions import catalogue
from functions.event import Caption, Place
from notify.captions.location import describe_location
from notify.posting.text import defuse

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted

log = structlog.get_logger()

# The poster gives a channel 15 s, part of which the text needs: a server may be slow at each step of a picture.
_SNAPSHOT_S = 8.0
_MAP_S = 2.0


async def upload_all(
    upload: Callable[[Redacted | Drawn, Caption], Awaitable[str | None]],
    snapshot: Redacted | None,
    text: Caption,
    location: Drawn | None,
    place: Place,
) -> list[str]:
    """Upload the snapshot, then the map, each with its description; a picture whose upload fails is left out.

    Args:
        upload: sends one picture with its description; returns None if that failed.
        snapshot: described by the post's text. Its time is limited, so that enough is left for the text.
        text: the post's text.
        location: its time is short: text and snapshot are more urgent.
        place: the place on the map.

    Returns:
        The ids of the uploaded pictures, in order.
    """
    uploaded = []
    if snapshot is not None:
        uploaded.append(await _within(_SNAPSHOT_S, upload(snapshot, text), "snapshot"))
    if location is not None:
        where = describe_location(place, (*catalogue.OWN, *text.others))
        description = Caption.of({language: defuse(said) for language, said in where.texts.items()})
        uploaded.append(await _within(_MAP_S, upload(location, description), "map"))
    return [media for media in uploaded if media is not None]


async def _within(seconds: float, uploading: Awaitable[str | None], what: str) -> str | None:
    try:
        async with asyncio.timeout(seconds):
            return await uploading
    except TimeoutError:
        log.warning("picture_not_posted", reason=f"the {what} took more than {seconds:g} s")
        return None
