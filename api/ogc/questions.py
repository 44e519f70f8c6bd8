"""What a client asks of a collection: the parameters of OGC API - Features, which has a server refuse unknown ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from starlette.datastructures import QueryParams

from api import filters
from api.filters import BadQueryError, named
from functions.event import Hazard
from store.queries import Bbox, Status
from store.records import Position

LIMIT = 200
LIMIT_MAX = 1000
NO_MORE = ("f",)
"""The parameters of documents that take no others."""
CAMERAS = ("f", "bbox", "datetime", "limit", "cursor")
INCIDENTS = (*CAMERAS, "hazard", "camera", "status")
_STATUSES: tuple[Status, ...] = ("open", "closed")


class Wish(Struct, frozen=True):
    """Which features a client wants."""

    bbox: Bbox | None
    since: datetime | None
    until: datetime | None
    limit: int


class IncidentWish(Wish, frozen=True):
    """Which incidents a client wants."""

    hazards: Sequence[Hazard]
    camera: str | None
    statuses: frozenset[Status]
    after: Position | None


def check_names(query: QueryParams, known: Sequence[str]) -> None:
    """Refuse names that the document does not take.

    Raises:
        BadQueryError: a name is not `known`, or `f` asks for more than JSON.
    """
    for name in query:
        if name not in known:
            raise BadQueryError(f"{name[:60]!r} cannot be asked here: use {', '.join(known)}")
    if query.get("f", "json") not in ("json", "geojson"):
        raise BadQueryError(f"f must be json, got {query['f'][:60]!r}")


def read_wish(query: QueryParams) -> Wish:
    """What is asked of any collection.

    Raises:
        BadQueryError: a value cannot be used; the message begins with its parameter.
    """
    since, until = named("datetime", _parse_interval, query.get("datetime", ""))
    return Wish(named("bbox", _parse_bbox, query.get("bbox", "")), since, until, _parse_limit(query))


def read_incident_wish(query: QueryParams) -> IncidentWish:
    """What is asked of the incidents.

    Raises:
        BadQueryError: a value cannot be used; the message begins with its parameter.
    """
    wish = read_wish(query)
    statuses = named("status", filters.parse_statuses, query.get("status"))
    if set(statuses) - set(_STATUSES):
        raise BadQueryError(f"status must be some of {', '.join(_STATUSES)}, got {query['status'][:60]!r}")
    return IncidentWish(
        bbox=wish.bbox,
        since=wish.since,
        until=wish.until,
        limit=wish.limit,
        hazards=named("hazard", filters.parse_hazards, query.get("hazard")),
        camera=query.get("camera") or None,
        statuses=frozenset(statuses or _STATUSES),
        after=named("cursor", filters.parse_cursor, query.get("cursor")),
    )


def is_within(lon: float, lat: float, box: Bbox | None) -> bool:
    """Whether a point lies in a box, which crosses the date line where its west is east of its east."""
    if box is None:
        return True
    west, south, east, north = box
    across = west <= lon <= east if west <= east else lon >= west or lon <= east
    return across and south <= lat <= north


def without(query: Mapping[str, str], name: str) -> dict[str, str]:
    """A query without one parameter."""
    return {key: value for key, value in query.items() if key != name}


def _parse_bbox(given: filters.Given) -> Bbox | None:
    parts = str(given).split(",")
    # With heights, which no feature here has.
    return filters.parse_bbox(",".join((*parts[:2], *parts[3:5])) if len(parts) == 6 else given)


def _parse_interval(given: filters.Given) -> tuple[datetime | None, datetime | None]:
    start, slash, end = str(given).partition("/")
    since, until = (filters.parse_time("" if text == ".." else text) for text in (start, end))
    if since is not None and until is not None and since > until:
        raise BadQueryError(f"must begin before it ends, got {str(given)[:60]!r}")
    return (since, until) if slash else (since, since)


def _parse_limit(query: QueryParams) -> int:
    text = query.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) >= 1):
        raise BadQueryError(f"limit must be a whole number of 1 or more, got {text[:60]!r}")
    # The standard has a server give less than what was asked for, rather than refuse.
    return min(int(text), LIMIT_MAX)
