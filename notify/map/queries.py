"""How incidents are found among a million: which index answers which question; `store.py` alone uses it.

All that filters and sorts lies in the indexes (`schema.py`), so that only rows which are shown are read from the table.
Neither database can know beforehand whether a box is crowded, so a box is looked for twice: among the newest incidents,
where a crowded one is full soon, and, if it is not, by place, where a box that is not crowded has little to sort.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from functions.event import HAZARDS, Hazard
from notify.map import schema

Bbox = tuple[float, float, float, float]

_T = schema.incidents
_NEWEST_FIRST = (_T.c.last_seen.desc(), _T.c.id.desc())
# Looking through so many entries of an index takes 3 ms in SQLite and 20 ms in MariaDB.
_NEWEST = 30_000
_HORIZON_KEPT_S = 60.0
# No limit at all, but a query with a limit is worked out by itself, by the index that suits it.
_ALL = 2**62


def newest(*, hazards: Sequence[Hazard], since: datetime | None, camera: str | None, limit: int) -> Select[Any]:
    """The newest incidents, newest first; each hazard has its newest from its own part of an index."""
    conditions = [] if since is None else [_T.c.last_seen >= since]
    if camera is not None:
        conditions.append(_T.c.camera == camera)
    each = [_T.c.hazard == hazard for hazard in hazards]
    parts = [[]] if camera is None and len(hazards) == len(HAZARDS) else [[one] for one in each]
    keys = [
        select(_T.c.id, _T.c.last_seen).where(*conditions, *part).order_by(*_NEWEST_FIRST).limit(limit).subquery()
        for part in parts
    ]
    together = union_all(*(select(part) for part in keys)).subquery()
    few = select(together).order_by(together.c.last_seen.desc(), together.c.id.desc()).limit(limit).subquery()
    return select(_T).select_from(few.join(_T, _T.c.id == few.c.id)).order_by(*_NEWEST_FIRST)


def of_camera_in_box(
    camera: str, bbox: Bbox, *, hazards: Sequence[Hazard], since: datetime | None, limit: int
) -> Select[Any]:
    """The newest of one camera within a box, newest first: as a rule all of it is in there, or nothing."""
    conditions = [] if since is None else [_T.c.last_seen >= since]
    query = select(_T).where(_T.c.camera == camera, _T.c.hazard.in_(hazards), *conditions)
    return query.where(_is_within(bbox, _T.c.lat + 0.0, _T.c.lon)).order_by(*_NEWEST_FIRST).limit(limit)


class BoxFinder:
    """Finds the newest incidents within a box."""

    def __init__(self) -> None:
        self._horizons: dict[Hazard | None, tuple[float, datetime | None]] = {}

    async def find(
        self,
        connection: AsyncConnection,
        bbox: Bbox,
        *,
        hazards: Sequence[Hazard],
        since: datetime | None,
        limit: int,
    ) -> Sequence[Row[Any]]:
        """The newest incidents within a box, newest first."""
        keys: list[tuple[datetime, int]] = []
        for hazard in [None] if len(hazards) == len(HAZARDS) else hazards:
            keys += await self._find_keys(connection, bbox, hazard, since, limit)
        ids = [number for _, number in sorted(keys, reverse=True)[:limit]]
        rows = await connection.execute(select(_T).where(_T.c.id.in_(ids)).order_by(*_NEWEST_FIRST))
        return list(rows.all())

    async def _find_keys(
        self, connection: AsyncConnection, bbox: Bbox, hazard: Hazard | None, since: datetime | None, limit: int
    ) -> list[tuple[datetime, int]]:
        horizon = await self._horizon(connection, hazard)
        is_all = horizon is None or (since is not None and since >= horizon)
        bound = since if is_all else horizon
        keys = await _read_keys(connection, _by_time(bbox, hazard, bound, limit))
        if is_all or len(keys) == limit:
            return keys
        return await _read_keys(connection, _by_place(bbox, hazard, since, limit))

    async def _horizon(self, connection: AsyncConnection, hazard: Hazard | None) -> datetime | None:
        """When the oldest of the newest was last seen; None where these are all. It need not be of this second."""
        read_at, horizon = self._horizons.get(hazard, (0.0, None))
        if not read_at or time.monotonic() - read_at > _HORIZON_KEPT_S:
            query = select(_T.c.last_seen).where(*_is(hazard)).order_by(*_NEWEST_FIRST).offset(_NEWEST - 1).limit(1)
            horizon = (await connection.execute(query)).scalar_one_or_none()
            self._horizons[hazard] = time.monotonic(), horizon
        return horizon


def _by_time(bbox: Bbox, hazard: Hazard | None, since: datetime | None, limit: int) -> Select[Any]:
    query = select(_T.c.last_seen, _T.c.id).where(*_is(hazard))
    if since is not None:
        query = query.where(_T.c.last_seen >= since)
    # A sum is in no index, so none by place is chosen.
    return query.where(_is_within(bbox, _T.c.lat + 0.0, _T.c.lon)).order_by(*_NEWEST_FIRST).limit(limit)


def _by_place(bbox: Bbox, hazard: Hazard | None, since: datetime | None, limit: int) -> Select[Any]:
    inside = (
        select(_T.c.last_seen, _T.c.id, _T.c.hazard)
        .with_hint(_T, "FORCE INDEX (incidents_by_place)", "mysql")
        .where(_is_within(bbox, _T.c.lat, _T.c.lon))
        .limit(_ALL)
        .subquery()
    )
    query = select(inside.c.last_seen, inside.c.id)
    if hazard is not None:
        query = query.where(inside.c.hazard == hazard)
    if since is not None:
        query = query.where(inside.c.last_seen >= since)
    return query.order_by(inside.c.last_seen.desc(), inside.c.id.desc()).limit(limit)


async def _read_keys(connection: AsyncConnection, query: Select[Any]) -> list[tuple[datetime, int]]:
    return [(row.last_seen, row.id) for row in await connection.execute(query)]


def _is(hazard: Hazard | None) -> list[ColumnElement[bool]]:
    return [] if hazard is None else [_T.c.hazard == hazard]


def _is_within(bbox: Bbox, lat: ColumnElement[float], lon: ColumnElement[float]) -> ColumnElement[bool]:
    west, south, east, north = bbox
    beyond, before = lon >= west, lon <= east
    return and_(lat.between(south, north), and_(beyond, before) if west <= east else or_(beyond, before))
