"""What a reader asks for: the query of `/api/incidents`, checked; each refusal names the value and the fix."""

from __future__ import annotations

import base64
import math
import re
from datetime import UTC, datetime, timedelta

from functions.event import HAZARDS, Hazard
from store.queries import STATUSES, Bbox, Status
from store.records import Position

LIMIT_MAX = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)


class BadQueryError(ValueError):
    """A parameter cannot be used; the message is one line for the reader."""


def parse_hazards(text: str | None) -> tuple[Hazard, ...]:
    """`fire,gun` as hazards; all of them where nothing is given.

    Raises:
        BadQueryError: a name is no hazard.
    """
    if not text:
        return HAZARDS
    named = [name.strip() for name in text.split(",")]
    for name in named:
        if name not in HAZARDS:
            raise BadQueryError(f"hazard must be some of {', '.join(HAZARDS)}, separated by commas, got {_show(name)}")
    return tuple(hazard for hazard in HAZARDS if hazard in named)


def parse_statuses(text: str | None) -> frozenset[Status] | None:
    """`open,acknowledged` as statuses; None, which is any, where nothing is given.

    Raises:
        BadQueryError: a name is no status.
    """
    if not text:
        return None
    named = {name.strip() for name in text.split(",")}
    for name in sorted(named.difference(STATUSES)):
        raise BadQueryError(f"status must be some of {', '.join(STATUSES)}, separated by commas, got {_show(name)}")
    return frozenset(status for status in STATUSES if status in named)


def parse_time(name: str, text: str | None) -> datetime | None:
    """An ISO 8601 time; one without an offset is UTC.

    Args:
        name: of the parameter.
        text: its value.

    Raises:
        BadQueryError: it is none.
    """
    if not text:
        return None
    try:
        # In a query "+" means a space, and a reader easily forgets to escape that of an offset.
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadQueryError(f"{name} must be an ISO 8601 time like 2026-11-22T05:03:00Z, got {_show(text)}") from None


def parse_cursor(text: str | None) -> Position | None:
    """Where a page begins, from the `next` of the page before.

    Raises:
        BadQueryError: it is none that was given out.
    """
    if not text:
        return None
    refusal = BadQueryError(f"cursor must be the `next` of the page before, as it came, got {_show(text)}")
    try:
        told = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
        found = _CURSOR.fullmatch(told)
        if found is None:
            raise refusal
        return Position(_EPOCH + timedelta(microseconds=int(found[1])), int(found[2]))
    except (ValueError, OverflowError):
        raise refusal from None


def show_cursor(position: Position | None) -> str | None:
    """A position as `parse_cursor` reads it."""
    if position is None:
        return None
    at = (position.last_seen - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{at}.{position.id}".encode()).decode().rstrip("=")


def parse_bbox(text: str | None) -> Bbox | None:
    """`west,south,east,north` in degrees.

    Raises:
        BadQueryError: not four numbers within the world, or south above north.
    """
    if not text:
        return None
    refusal = BadQueryError(
        f"bbox must be west,south,east,north in degrees like 126.7,37.4,127.2,37.7, got {_show(text)}"
    )
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise refusal from None
    is_world = -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90
    if not (is_world and all(map(math.isfinite, (west, south, east, north)))):
        raise refusal
    return west, south, east, north


def parse_limit(text: str | None) -> int:
    """How many at most, 200 where nothing is given.

    Raises:
        BadQueryError: not a number from 1 to 1000.
    """
    return 200 if not text else _whole("limit", text, 1, LIMIT_MAX)


def parse_revision(name: str, text: str | None) -> int | None:
    """A revision to go on from.

    Raises:
        BadQueryError: not a whole number.
    """
    return None if not text else _whole(name, text, 0, 2**63 - 1)


def parse_id(text: str) -> int:
    """The number of an incident or a post, from its address.

    Raises:
        BadQueryError: not a whole number.
    """
    return _whole("id", text, 1, 2**63 - 1)


def _whole(name: str, text: str, lowest: int, highest: int) -> int:
    # str.isdecimal lets other scripts' digits pass, which int() reads too; the length keeps int() cheap.
    if len(text) <= 19 and text.isdecimal() and lowest <= int(text) <= highest:
        return int(text)
    raise BadQueryError(f"{name} must be a whole number from {lowest} to {highest}, got {_show(text)}")


def _show(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
