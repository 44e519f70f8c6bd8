"""The types of query parameters, and how their text is parsed.

Each error is one line with the value and the fix.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Path, Query
from pydantic import BeforeValidator

from functions.event import HAZARDS, Hazard
from store.queries import STATUSES, Bbox, Status
from store.records import Position

LIMIT_MAX = 1000
_LIMIT = 200
_ID_MAX = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)


Given = str | list[str] | None
"""A parameter as received: once, several times (as some clients send a list), or not at all."""
T = TypeVar("T")
Name = TypeVar("Name", bound=str)


class BadQueryError(ValueError):
    """A parameter is invalid; the message is one line for the client, without the parameter's name."""


def named(name: str, parse: Callable[[Given], T], given: Given) -> T:
    """Parse a parameter, with its name in errors.

    Raises:
        BadQueryError: it is invalid; the message begins with `name`.
    """
    try:
        return parse(given)
    except BadQueryError as error:
        raise BadQueryError(f"{name} {error}") from None


def describe_error(error: Mapping[str, Any]) -> str:
    """One error of FastAPI's validation in one line that begins with the parameter's name."""
    name, reason = error["loc"][1], error.get("ctx", {}).get("error")
    if isinstance(reason, BadQueryError):
        return f"{name} {reason}"
    message = str(error["msg"]).replace("Input should be", "must be").replace("Field required", "is required")
    return f"{name} {message}, got {_show(str(error['input']))}"


def parse_hazards(given: Given) -> list[Hazard]:
    """`fire,gun` as hazards; all of them if none is given.

    Raises:
        BadQueryError: a name is not a hazard.
    """
    return _some_of(HAZARDS, given) or list(HAZARDS)


def parse_statuses(given: Given) -> list[Status]:
    """`open,acknowledged` as statuses; an empty list, which means any, if none is given.

    Raises:
        BadQueryError: a name is not a status.
    """
    return _some_of(STATUSES, given)


def parse_time(given: Given) -> datetime | None:
    """An ISO 8601 time; one without an offset is UTC.

    Raises:
        BadQueryError: it is not such a time.
    """
    text = _last(given)
    if not text:
        return None
    try:
        # In a query "+" means a space, and clients easily forget to escape the one in an offset.
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadQueryError(f"must be an ISO 8601 time like 2026-11-22T05:03:00Z, got {_show(text)}") from None


def parse_cursor(given: Given) -> Position | None:
    """The start of a page, from the `next` of the previous page.

    Raises:
        BadQueryError: it is not a valid cursor.
    """
    text = _last(given)
    if not text:
        return None
    refusal = BadQueryError(f"must be the unchanged `next` of the previous page, got {_show(text)}")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
        found = _CURSOR.fullmatch(decoded)
        if found is None:
            raise refusal
        return Position(_EPOCH + timedelta(microseconds=int(found[1])), int(found[2]))
    except (ValueError, OverflowError):
        raise refusal from None


def show_cursor(position: Position | None) -> str | None:
    """A position as a cursor for `parse_cursor`."""
    if position is None:
        return None
    at = (position.last_seen - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{at}.{position.id}".encode()).decode().rstrip("=")


def parse_bbox(given: Given) -> Bbox | None:
    """`west,south,east,north` in degrees.

    Raises:
        BadQueryError: not four numbers within the world, or south above north.
    """
    parts = _parts(given)
    if not parts:
        return None
    example = "west,south,east,north in degrees like 126.7,37.4,127.2,37.7"
    refusal = BadQueryError(f"must be {example}, got {_show(','.join(parts))}")
    try:
        west, south, east, north = (float(part) for part in parts)
    except ValueError:
        raise refusal from None
    is_world = -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90
    if not (is_world and all(map(math.isfinite, (west, south, east, north)))):
        raise refusal
    return west, south, east, north


def parse_limit(given: Given) -> int:
    """The maximum number, 200 if none is given.

    Raises:
        BadQueryError: not a number from 1 to 1000.
    """
    return _whole(_last(given), 1, LIMIT_MAX, _LIMIT)


def parse_revision(given: Given) -> int | None:
    """A revision to resume after.

    Raises:
        BadQueryError: not a whole number.
    """
    text = _last(given)
    return _whole(text, 0, _ID_MAX, 0) if text else None


def parse_id(given: Given) -> int:
    """The number of an incident or a post in a path.

    Raises:
        BadQueryError: not a whole number.
    """
    return _whole(_last(given), 1, _ID_MAX, None)


def box_of(numbers: Sequence[float]) -> Bbox | None:
    """The four numbers of a parsed box; None if there is none."""
    if not numbers:
        return None
    west, south, east, north = numbers
    return west, south, east, north


def _read_box(given: Given) -> list[float]:
    return list(parse_bbox(given) or ())


def _check_cursor(given: Given) -> str | None:
    return _last(given) if parse_cursor(given) else None


HazardsQuery = Annotated[
    list[Hazard], BeforeValidator(parse_hazards), Query(description="Only these, separated by commas.")
]
StatusesQuery = Annotated[
    list[Status], BeforeValidator(parse_statuses), Query(description="Any of these, separated by commas.")
]
SinceQuery = Annotated[
    datetime | None,
    BeforeValidator(parse_time),
    Query(description="Last seen then or later; ISO 8601, UTC unless it says otherwise."),
]
UntilQuery = Annotated[datetime | None, BeforeValidator(parse_time), Query(description="Last seen then or earlier.")]
BboxQuery = Annotated[
    list[float],
    BeforeValidator(_read_box),
    Query(description="Only within west,south,east,north, degrees; west > east crosses the date line.", max_length=4),
]
CameraQuery = Annotated[str | None, Query(description="Only of this camera.")]
LimitQuery = Annotated[int, BeforeValidator(parse_limit), Query(ge=1, le=LIMIT_MAX, description="The most to return.")]
CursorQuery = Annotated[
    str | None, BeforeValidator(_check_cursor), Query(description="The unchanged `next` of the previous page.")
]
VersionQuery = Annotated[str | None, Query(description="Identifies the picture, so that its address may be cached.")]
SizeQuery = Annotated[Literal["small"] | None, Query(description="A thumbnail, 320 pixels wide.")]
IncidentId = Annotated[int, BeforeValidator(parse_id), Path(ge=1, le=_ID_MAX, description="Number of the incident.")]
PostId = Annotated[int, BeforeValidator(parse_id), Path(ge=1, le=_ID_MAX, description="Number of the post.")]
CameraId = Annotated[str, Path(description="The camera, percent-encoded.")]


def _parts(given: Given) -> list[str]:
    texts = given if isinstance(given, list) else [given or ""]
    return [name for text in texts for part in str(text).split(",") if (name := part.strip())]


def _last(given: Given) -> str:
    return str(given[-1] if isinstance(given, list) and given else given or "")


def _some_of(known: tuple[Name, ...], given: Given) -> list[Name]:
    names = _parts(given)
    for name in names:
        if name not in known:
            raise BadQueryError(f"must be some of {', '.join(known)}, separated by commas, got {_show(name)}")
    return [name for name in known if name in names]


def _whole(text: str, lowest: int, highest: int, blank: int | None) -> int:
    if not text and blank is not None:
        return blank
    # str.isdecimal accepts other scripts' digits, which int() reads too; the length limit keeps int() cheap.
    if len(text) <= 19 and text.isdecimal() and lowest <= int(text) <= highest:
        return int(text)
    raise BadQueryError(f"must be a whole number from {lowest} to {highest}, got {_show(text)}")


def _show(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
