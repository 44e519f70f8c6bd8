"""Which pictures a post has, in which order, and what is said of them to those who cannot see them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from functions.event import Caption, Place
from notify.captions.location import tell_location
from notify.posting.text import defuse

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted

log = structlog.get_logger()

# The poster gives a channel 15 s, and the words need some of them: a server may be slow at each step of a picture.
_SNAPSHOT_S = 8.0
_MAP_S = 2.0


async def upload_all(
    upload: Callable[[Redacted | Drawn, Caption], Awaitable[str | None]],
    snapshot: Redacted | None,
    text: Caption,
    location: Drawn | None,
    place: Place,
) -> list[str]:
    """Upload the snapshot, then the map, each with its description; what could not be uploaded is left out.

    Args:
        upload: sends one picture with its description; None where that failed.
        snapshot: described by what the post says. It is given so much time that the words still have some.
        text: what the post says.
        location: given little time: words and snapshot are more urgent.
        place: what the map shows.

    Returns:
        The ids of the pictures that are there, in their order.
    """
    uploaded = []
    if snapshot is not None:
        uploaded.append(await _within(_SNAPSHOT_S, upload(snapshot, text), "snapshot"))
    if location is not None:
        told = tell_location(place)
        said = Caption(en=defuse(told.en), ko=defuse(told.ko))
        uploaded.append(await _within(_MAP_S, upload(location, said), "map"))
    return [media for media in uploaded if media is not None]


async def _within(seconds: float, uploading: Awaitable[str | None], what: str) -> str | None:
    try:
        async with asyncio.timeout(seconds):
            return await uploading
    except TimeoutError:
        log.warning("picture_not_posted", reason=f"the {what} took more than {seconds:g} s")
        return None
