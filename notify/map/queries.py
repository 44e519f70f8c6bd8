"""How incidents are found among a million: which index answers which question; `store.py` alone uses it.

All that filters and sorts lies in the indexes (`schema.py`), so that only rows which are shown are read from the table.
Neither database can know beforehand whether a box is crowded, so a box is looked for twice: among the newest incidents,
where a crowded one is full soon, and, if it is not, by place, where a box that is not crowded has little to sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Result, Row, Select, and_, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from functions.event import HAZARDS, Hazard
from notify.map import schema

Bbox = tuple[float, float, float, float]

_T = schema.incidents
_KEYS = (_T.c.id, _T.c.last_seen, _T.c.lat, _T.c.lon)
# Looking through so many entries of an index takes some milliseconds.
_NEWEST = 20_000
ALL = 2**62
"""A limit that is none."""


def newest(*, hazards: Sequence[Hazard], since: datetime | None, camera: str | None, limit: int) -> Select[Any]:
    """Keys of the newest incidents, in no order: each hazard has its newest from its own part of an index."""
    if camera is None and len(hazards) == len(HAZARDS):
        return _newest_of([], since, limit)
    of_camera = [] if camera is None else [_T.c.camera == camera]
    parts = [_newest_of([*of_camera, _T.c.hazard == hazard], since, limit).subquery() for hazard in hazards]
    together = union_all(*(select(part) for part in parts)).subquery()
    return select(together).order_by(together.c.last_seen.desc(), together.c.id.desc()).limit(limit)


def whole(keys: Select[Any], limit: int, bbox: Bbox | None = None) -> Select[Any]:
    """The incidents of those keys, newest first; of a box, if one is given."""
    found = keys.subquery()
    chosen = select(found.c.id, found.c.last_seen)
    if bbox is not None:
        chosen = chosen.where(_is_within(bbox, found.c.lat, found.c.lon))
    few = chosen.order_by(found.c.last_seen.desc(), found.c.id.desc()).limit(limit).subquery()
    rows = select(_T).select_from(few.join(_T, _T.c.id == few.c.id))
    return rows.order_by(_T.c.last_seen.desc(), _T.c.id.desc())


async def find_in_box(
    connection: AsyncConnection, bbox: Bbox, *, hazards: Sequence[Hazard], since: datetime | None, limit: int
) -> Sequence[Row[Any]]:
    """The newest incidents within a box, newest first."""
    first = newest(hazards=hazards, since=since, camera=None, limit=_NEWEST)
    rows: Sequence[Row[Any]] = (await connection.execute(whole(first, limit, bbox))).all()
    if len(rows) == limit:
        return rows
    last = select(first.subquery().c.id).offset(_NEWEST - 1).limit(1)
    if (await connection.execute(last)).first() is None:
        # That were all.
        return rows
    placed: Result[Any] = await connection.execute(_by_place(bbox, hazards, since, limit))
    return placed.all()


def _newest_of(conditions: Sequence[ColumnElement[bool]], since: datetime | None, limit: int) -> Select[Any]:
    query = select(*_KEYS).where(*conditions)
    if since is not None:
        query = query.where(_T.c.last_seen >= since)
    return query.order_by(_T.c.last_seen.desc(), _T.c.id.desc()).limit(limit)


def _by_place(bbox: Bbox, hazards: Sequence[Hazard], since: datetime | None, limit: int) -> Select[Any]:
    # The limit is none: it keeps the outer conditions out, for which other indexes would seem to be better.
    inside = (
        select(*_KEYS, _T.c.hazard)
        .with_hint(_T, "FORCE INDEX (incidents_by_place)", "mysql")
        .where(_is_within(bbox, _T.c.lat, _T.c.lon))
        .limit(ALL)
        .subquery()
    )
    keys = select(inside.c.id, inside.c.last_seen, inside.c.lat, inside.c.lon)
    if len(hazards) < len(HAZARDS):
        keys = keys.where(inside.c.hazard.in_(hazards))
    if since is not None:
        keys = keys.where(inside.c.last_seen >= since)
    return whole(keys, limit)


def _is_within(bbox: Bbox, lat: ColumnElement[float], lon: ColumnElement[float]) -> ColumnElement[bool]:
    west, south, east, north = bbox
    beyond, before = lon >= west, lon <= east
    return and_(lat.between(south, north), and_(beyond, before) if west <= east else or_(beyond, before))
