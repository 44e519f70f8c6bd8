"""Finds incidents among a million: which index serves which query; used only by this package.

The indexes (`schema.py`) cover every filter and sort key, so only rows that are shown are read from the table. A query
is split into parts, each a contiguous range of one index, newest first; merging the newest of each part gives the
newest of all. Neither database can tell in advance whether a bounding box is crowded, so a box is searched twice: first
among the newest incidents, where a crowded box soon fills a page, and if it does not, by place, where a sparse box has
little to sort.
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
Status = Literal["open", "closed", "acknowledged", "false_alarm", "held"]
STATUSES: tuple[Status, ...] = ("open", "closed", "acknowledged", "false_alarm", "held")

_Mark = Verdict | Literal["held"]
HELD: Literal["held"] = "held"
"""The mark of an incident whose alert is held back, where a verdict would be (`held.py`)."""
HIDDEN = ("false_alarm", HELD)
"""The marks of incidents that are not `Incident.is_public`."""
_T = schema.incidents
_NEWEST_FIRST = (_T.c.last_seen.desc(), _T.c.id.desc())
# Scanning this many index entries takes 3 ms of CPU in SQLite and 5 in MariaDB. A box that does not fill a page of 200
# from them holds about one incident in a hundred; MariaDB then reads only these, SQLite a whole band of latitude.
_NEWEST = {"sqlite": 30_000, "mysql": 20_000}
_HORIZON_KEPT_S = 60.0
# In effect unlimited, but the optimizer evaluates a subquery with a limit on its own, by the index that suits it.
_ALL = 2**62
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which incidents a query selects, and how many at most."""

    hazards: Sequence[Hazard] = HAZARDS
    since: datetime | None = None
    """Last seen then or later."""
    until: datetime | None = None
    """Last seen then or earlier."""
    bbox: Bbox | None = None
    """West, south, east, north in degrees; west > east crosses the date line."""
    camera: str | None = None
    statuses: frozenset[Status] | None = None
    """Any of these; None for any status."""
    after: Position | None = None
    """Only incidents after it in the list."""
    limit: int = 200


@dataclass(frozen=True, slots=True)
class _Part:
    """Incidents in one contiguous range of an index, newest first."""

    hazard: Hazard | None
    verdict: _Mark | None
    is_unrefuted: bool
    """Without false alarms and held alerts."""
    since: datetime | None
    until: datetime | None
    after: Position | None
    camera: str | None

    @property
    def is_from_now(self) -> bool:
        """Whether its range starts at the newest incident."""
        return self.until is None and self.after is None

    def holds(self, of: Columns) -> list[ColumnElement[bool]]:
        """Every condition of the part."""
        conditions = self.begins(of)
        if self.is_unrefuted:
            conditions.append(of.verdict.not_in(HIDDEN))
        if self.since is not None:
            conditions.append(of.last_seen >= self.since)
        return conditions

    def begins(self, of: Columns) -> list[ColumnElement[bool]]:
        """Only the conditions that say where in its index the part begins."""
        given = (("camera", self.camera), ("hazard", self.hazard), ("verdict", self.verdict))
        conditions: list[ColumnElement[bool]] = [of[name] == value for name, value in given if value is not None]
        if self.until is not None:
            conditions.append(of.last_seen <= self.until)
        if self.after is not None:
            at, number = self.after.last_seen, self.after.id
            # The second condition would suffice, but only a plain bound lets the database seek in the index.
            conditions += [of.last_seen <= at, or_(of.last_seen < at, of.id < number)]
        return conditions


class Finder:
    """Finds incidents, newest first."""

    def __init__(self) -> None:
        self._horizons: dict[tuple[Hazard | None, _Mark | None], tuple[float, datetime | None]] = {}

    async def find(self, connection: AsyncConnection, wanted: Wanted, open_since: datetime) -> list[Row[Any]]:
        """At most `wanted.limit` rows, and one more if there are more.

        Args:
            connection: to read from.
            wanted: which incidents.
            open_since: an incident last seen then or later is open.
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
        """When the oldest of a part's newest entries was last seen; None if the part has no more entries."""
        place = (part.hazard, part.verdict)
        read_at, horizon = self._horizons.get(place, (0.0, None))
        # It may be some seconds old.
        if not part.is_from_now or not read_at or time.monotonic() - read_at > _HORIZON_KEPT_S:
            query = select(_T.c.last_seen).where(*part.begins(_T.c)).order_by(*_NEWEST_FIRST)
            horizon = (
                await connection.execute(query.offset(_NEWEST[connection.dialect.name] - 1).limit(1))
            ).scalar_one_or_none()
            if part.is_from_now:
                self._horizons[place] = time.monotonic(), horizon
        return horizon


def _cut(wanted: Wanted, open_since: datetime) -> list[_Part]:
    """The index ranges of a query; an incident in two of them counts once."""
    since, until, statuses = wanted.since, wanted.until, wanted.statuses
    cuts: list[tuple[_Mark | None, bool, datetime | None, datetime | None]] = []
    if statuses is None or {"open", "closed", "false_alarm", HELD} <= statuses:
        cuts.append((None, False, since, until))
    else:
        if {"open", "closed"} <= statuses:
            cuts.append((None, True, since, until))
        elif "open" in statuses:
            cuts.append((None, True, open_since if since is None else max(since, open_since), until))
        elif "closed" in statuses:
            before = open_since - _TICK
            cuts.append((None, True, since, before if until is None else min(until, before)))
        verdicts: tuple[_Mark, ...] = ("acknowledged", "false_alarm", HELD)
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
        # An expression matches no index, so the optimizer does not choose an index by place.
        query = query.where(_is_within(bbox, _T.c.lat + 0.0, _T.c.lon))
    return query.order_by(*_NEWEST_FIRST).limit(count)


def _by_place(part: _Part, bbox: Bbox, count: int, dialect: str) -> Select[Any]:
    # The box is looked up on its own and the rest is filtered from it, or the optimizer would choose another index.
    inside = (_at_spots(bbox) if dialect == "mysql" else _in_band(bbox)).limit(_ALL).subquery()
    query = select(inside.c.last_seen, inside.c.id).where(*part.holds(inside.c))
    return query.order_by(inside.c.last_seen.desc(), inside.c.id.desc()).limit(count)


def _in_band(bbox: Bbox) -> Select[Any]:
    """Incidents in a box. The index seeks by latitude alone, and a band of latitude may hold half of all incidents."""
    return select(_T.c.last_seen, _T.c.id, _T.c.hazard, _T.c.verdict).where(_is_within(bbox, _T.c.lat, _T.c.lon))


def _at_spots(bbox: Bbox) -> Select[Any]:
    """The same for a database with loose index scans, which SQLite lacks.

    Cameras do not move, so a band has few distinct positions: the scan visits each once and reads only incidents at
    those in the box.
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
