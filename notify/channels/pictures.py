"""Which pictures a post has, in which order, and what is said of them to those who cannot see them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from functions.event import Caption, Place
from notify.channels.text import defuse
from notify.location import tell_location

if TYPE_CHECKING:
    from notify.location import Drawn
    from notify.redact import Redacted

log = structlog.get_logger()

# The poster gives a channel 15 s, of which the snapshot may take 8 and the words need the rest.
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
        snapshot: described by what the post says.
        text: what the post says.
        location: given little time: words and snapshot are more urgent.
        place: what the map shows.

    Returns:
        The ids of the pictures that are there, in their order.
    """
    uploaded = [await upload(snapshot, text)] if snapshot is not None else []
    if location is not None:
        told = tell_location(place)
        try:
            async with asyncio.timeout(_MAP_S):
                uploaded.append(await upload(location, Caption(en=defuse(told.en), ko=defuse(told.ko))))
        except TimeoutError:
            log.warning("picture_not_posted", reason=f"the map took more than {_MAP_S:g} s")
    return [media for media in uploaded if media is not None]
