"""How incidents are found among a million: which index answers which question; only the desks beside it use it.

All that filters and sorts lies in the indexes (`schema.py`), so that only rows which are shown are read from the table.
A question is cut into parts that each lie together in one index, newest first; the newest of each part, put together,
are the newest of all. Neither database can know beforehand whether a box is crowded, so a box is looked for twice:
among the newest incidents, where a crowded one is full soon, and, if it is not, by place, where a box that is not
crowded has little to sort.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Row, Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement

from functions.event import HAZARDS, Hazard
from store import schema
from store.records import Position, Verdict

Bbox = tuple[float, float, float, float]
Columns = ReadOnlyColumnCollection[str, Column[Any]] | ReadOnlyColumnCollection[str, KeyedColumnElement[Any]]
Status = Literal["open", "closed", "acknowledged", "false_alarm"]
STATUSES: tuple[Status, ...] = ("open", "closed", "acknowledged", "false_alarm")

_T = schema.incidents
_NEWEST_FIRST = (_T.c.last_seen.desc(), _T.c.id.desc())
# Looking through so many entries of an index takes 3 ms of CPU in SQLite and 5 in MariaDB. A box that does not fill a
# page of 200 with them holds about one incident in a hundred; MariaDB looks these up alone, SQLite a whole band.
_NEWEST = {"sqlite": 30_000, "mysql": 20_000}
_HORIZON_KEPT_S = 60.0
# No limit at all, but a query with a limit is worked out by itself, by the index that suits it.
_ALL = 2**62
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which incidents are asked for, and how many at most."""

    hazards: Sequence[Hazard] = HAZARDS
    since: datetime | None = None
    """Last seen then or later."""
    until: datetime | None = None
    """Last seen then or earlier."""
    bbox: Bbox | None = None
    """West, south, east, north in degrees; west > east crosses the date line."""
    camera: str | None = None
    statuses: frozenset[Status] | None = None
    """Any of these; None for whatever status."""
    after: Position | None = None
    """Only what comes after it in the list."""
    limit: int = 200


@dataclass(frozen=True, slots=True)
class _Part:
    """Incidents that lie together in one index, newest first."""

    hazard: Hazard | None
    verdict: Verdict | None
    is_unrefuted: bool
    """Without the false alarms."""
    since: datetime | None
    until: datetime | None
    after: Position | None
    camera: str | None

    @property
    def is_from_now(self) -> bool:
        """Whether it begins with what is newest."""
        return self.until is None and self.after is None

    def holds(self, of: Columns) -> list[ColumnElement[bool]]:
        """Every condition of the part."""
        conditions = self.begins(of)
        if self.is_unrefuted:
            conditions.append(of.verdict != "false_alarm")
        if self.since is not None:
            conditions.append(of.last_seen >= self.since)
        return conditions

    def begins(self, of: Columns) -> list[ColumnElement[bool]]:
        """The conditions that say where in its index the part begins, and no others."""
        given = (("camera", self.camera), ("hazard", self.hazard), ("verdict", self.verdict))
        conditions: list[ColumnElement[bool]] = [of[name] == value for name, value in given if value is not None]
        if self.until is not None:
            conditions.append(of.last_seen <= self.until)
        if self.after is not None:
            at, number = self.after.last_seen, self.after.id
            # The second alone would do, but an index is entered by a plain bound only.
            conditions += [of.last_seen <= at, or_(of.last_seen < at, of.id < number)]
        return conditions


class Finder:
    """Finds incidents, newest first."""

    def __init__(self) -> None:
        self._horizons: dict[tuple[Hazard | None, Verdict | None], tuple[float, datetime | None]] = {}

    async def find(self, connection: AsyncConnection, wanted: Wanted, open_since: datetime) -> list[Row[Any]]:
        """At most so many rows as are wanted, and one more where there are more.

        Args:
            connection: to read from.
            wanted: which.
            open_since: what was last seen then or later is open.
        """
        found: dict[int, datetime] = {}
        count = wanted.limit + 1
        for part in _cut(wanted, open_since):
            if wanted.bbox is None or wanted.camera is not None:
                keys = await _read_keys(connection, _by_time(part, wanted.bbox, count))
            else:
                keys = await self._find_in_box(connection, part, wanted.bbox, count)
            # An acknowledged incident may be open too.
            found |= {number: at for at, number in keys}
        ids = sorted(found, key=lambda number: (found[number], number), reverse=True)[:count]
        if not ids:
            return []
        rows = await connection.execute(select(_T).where(_T.c.id.in_(ids)).order_by(*_NEWEST_FIRST))
        return list(rows.all())

    async def _find_in_box(
        self, connection: AsyncConnection, part: _Part, bbox: Bbox, count: int
    ) -> list[tuple[datetime, int]]:
        horizon = await self._horizon(connection, part)
        is_all = horizon is None or (part.since is not None and part.since >= horizon)
        near = part if is_all else dataclasses.replace(part, since=horizon)
        keys = await _read_keys(connection, _by_time(near, bbox, count))
        if is_all or len(keys) == count:
            return keys
        return await _read_keys(connection, _by_place(part, bbox, count, connection.dialect.name))

    async def _horizon(self, connection: AsyncConnection, part: _Part) -> datetime | None:
        """When the oldest of the newest of a part was last seen; None where these are all."""
        place = (part.hazard, part.verdict)
        read_at, horizon = self._horizons.get(place, (0.0, None))
        # It need not be of this second.
        if not part.is_from_now or not read_at or time.monotonic() - read_at > _HORIZON_KEPT_S:
            query = select(_T.c.last_seen).where(*part.begins(_T.c)).order_by(*_NEWEST_FIRST)
            horizon = (
                await connection.execute(query.offset(_NEWEST[connection.dialect.name] - 1).limit(1))
            ).scalar_one_or_none()
            if part.is_from_now:
                self._horizons[place] = time.monotonic(), horizon
        return horizon


def _cut(wanted: Wanted, open_since: datetime) -> list[_Part]:
    """The parts of what is wanted; what is in two of them is wanted once."""
    since, until, statuses = wanted.since, wanted.until, wanted.statuses
    cuts: list[tuple[Verdict | None, bool, datetime | None, datetime | None]] = []
    if statuses is None or {"open", "closed", "false_alarm"} <= statuses:
        cuts.append((None, False, since, until))
    else:
        if {"open", "closed"} <= statuses:
            cuts.append((None, True, since, until))
        elif "open" in statuses:
            cuts.append((None, True, open_since if since is None else max(since, open_since), until))
        elif "closed" in statuses:
            before = open_since - _TICK
            cuts.append((None, True, since, before if until is None else min(until, before)))
        verdicts: tuple[Verdict, ...] = ("acknowledged", "false_alarm")
        cuts += [(verdict, False, since, until) for verdict in verdicts if verdict in statuses]
    parts = []
    for verdict, is_unrefuted, begin, end in cuts:
        is_whole = verdict is None and wanted.camera is None and len(wanted.hazards) == len(HAZARDS)
        for hazard in (None,) if is_whole else wanted.hazards:
            parts.append(_Part(hazard, verdict, is_unrefuted, begin, end, wanted.after, wanted.camera))
    return parts


def _by_time(part: _Part, bbox: Bbox | None, count: int) -> Select[Any]:
    query = select(_T.c.last_seen, _T.c.id).where(*part.holds(_T.c))
    if part.verdict is not None and part.camera is None:
        query = query.with_hint(_T, "FORCE INDEX (incidents_by_verdict)", "mysql")
    if bbox is not None:
        # A sum is in no index, so none by place is chosen.
        query = query.where(_is_within(bbox, _T.c.lat + 0.0, _T.c.lon))
    return query.order_by(*_NEWEST_FIRST).limit(count)


def _by_place(part: _Part, bbox: Bbox, count: int, dialect: str) -> Select[Any]:
    # Only the box is looked up, and all else is asked of what is in it, or another index would be taken.
    inside = (_at_spots(bbox) if dialect == "mysql" else _in_band(bbox)).limit(_ALL).subquery()
    query = select(inside.c.last_seen, inside.c.id).where(*part.holds(inside.c))
    return query.order_by(inside.c.last_seen.desc(), inside.c.id.desc()).limit(count)


def _in_band(bbox: Bbox) -> Select[Any]:
    """Whatever lies in a box. The index is entered by latitude alone; a band of that may hold half of all there is."""
    return select(_T.c.last_seen, _T.c.id, _T.c.hazard, _T.c.verdict).where(_is_within(bbox, _T.c.lat, _T.c.lon))


def _at_spots(bbox: Bbox) -> Select[Any]:
    """The same, for a database that can leap from one value in an index to the next, as SQLite cannot.

    Cameras stand still: of the few spots in the band, one leap for each, only what is at those in the box is read.
    """
    spots = (
        select(_T.c.lat, _T.c.lon)
        .distinct()
        .with_hint(_T, "FORCE INDEX (incidents_by_place)", "mysql")
        .where(_is_within(bbox, _T.c.lat, _T.c.lon))
        .subquery()
    )
    there = _T.alias()
    at_spot = and_(there.c.lat == spots.c.lat, there.c.lon == spots.c.lon)
    return (
        select(there.c.last_seen, there.c.id, there.c.hazard, there.c.verdict)
        .prefix_with("STRAIGHT_JOIN", dialect="mysql")
        .with_hint(there, "FORCE INDEX (incidents_by_place)", "mysql")
        .select_from(spots.join(there, at_spot))
    )


async def _read_keys(connection: AsyncConnection, query: Select[Any]) -> list[tuple[datetime, int]]:
    return [(row.last_seen, row.id) for row in await connection.execute(query)]


def _is_within(bbox: Bbox, lat: ColumnElement[float], lon: ColumnElement[float]) -> ColumnElement[bool]:
    west, south, east, north = bbox
    beyond, before = lon >= west, lon <= east
    return and_(lat.between(south, north), and_(beyond, before) if west <= east else or_(beyond, before))
