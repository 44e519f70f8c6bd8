"""Who wants to be warned by Web Push, of what and where: endpoints sealed, areas found by their boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, func, insert, select, update

from functions.event import utc_now
from store import schema
from store.database import Database
from store.failures import persistent
from store.push_areas import Area, decode_area, encode_area
from store.push_hours import QuietHours

_BATCH = 500
"""Ids in one statement: SQLite takes 32,766 variables, MariaDB reads long lists slowly."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subscriber wants to know."""

    hazards: tuple[str, ...]
    area: Area
    language: str
    quiet: QuietHours | None = None

    def wants(self, hazard: str, lat: float, lon: float) -> bool:
        """Whether a hazard at a place concerns the subscriber."""
        return hazard in self.hazards and self.area.holds(lat, lon)

    def is_quiet(self, now: datetime) -> bool:
        """Whether the subscriber is not to be woken now."""
        return self.quiet is not None and self.quiet.hold(now)


@dataclass(frozen=True, slots=True)
class PushSubscription:
    """One browser that is to be warned."""

    id: int
    sealed: str
    """Its endpoint, which only the sender can read."""
    wish: Wish


class TooManyError(Exception):
    """The database holds as many subscriptions as the operator allows."""


class PushSubscriptions:
    """Subscriptions to Web Push, one for each endpoint."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def put(self, digest: str, sealed: str, wish: Wish, *, most: int) -> bool:
        """Store a subscription, or renew and change the one with the same endpoint; whether it is a new one.

        Raises:
            TooManyError: it is new, and there are `most` already.
            StoreError: the database is not available.
        """
        table = schema.push_subscriptions
        async with self._database.write() as (connection, _):
            this = table.c.endpoint_digest == digest
            found = (await connection.execute(select(table.c.id).where(this))).scalar_one_or_none()
            if found is not None:
                await connection.execute(update(table).where(this).values(**_columns(sealed, wish)))
                return False
            if (await connection.execute(select(func.count()).select_from(table))).scalar_one() >= most:
                raise TooManyError(f"there are {most} subscriptions already")
            await connection.execute(insert(table).values(endpoint_digest=digest, **_columns(sealed, wish)))
            return True

    @persistent
    async def find(self, digest: str) -> PushSubscription | None:
        """The subscription of an endpoint; None where there is none."""
        table = schema.push_subscriptions
        async with self._database.read() as connection:
            row = (await connection.execute(select(table).where(table.c.endpoint_digest == digest))).one_or_none()
        return None if row is None else _read(row)

    @persistent
    async def remove(self, digest: str) -> bool:
        """Delete the subscription of an endpoint and what it was sent; whether there was one."""
        table = schema.push_subscriptions
        async with self._database.write() as (connection, _):
            found = await connection.execute(select(table.c.id).where(table.c.endpoint_digest == digest))
            ids = list(found.scalars())
            await _delete(connection, ids)
        return bool(ids)

    @persistent
    async def delete(self, ids: Iterable[int]) -> None:
        """Delete subscriptions, which their push service no longer knows, and what they were sent."""
        wanted = list(ids)
        if wanted:
            async with self._database.write() as (connection, _):
                await _delete(connection, wanted)

    @persistent
    async def note(
        self, *, reached: Sequence[int], failed: Sequence[int], most: int, begun_before: datetime
    ) -> Sequence[int]:
        """Count failures in a row, and delete the subscriptions that failed too often for too long.

        Args:
            reached: to these something was delivered: they start again from 0.
            failed: one more failure for each.
            most: at this number of failures in a row a subscription is deleted,
            begun_before: if the first of them was before then.

        Returns:
            The deleted ones.
        """
        table = schema.push_subscriptions
        async with self._database.write() as (connection, _):
            healed = table.c.id.in_(reached), table.c.failures > 0
            await connection.execute(update(table).where(*healed).values(failures=0, failing_since=None))
            since = func.coalesce(table.c.failing_since, bindparam("now", utc_now(), type_=table.c.failing_since.type))
            counted = {"failures": table.c.failures + 1, "failing_since": since}
            await connection.execute(update(table).where(table.c.id.in_(failed)).values(**counted))
            beyond = table.c.failures >= most, table.c.failing_since < begun_before
            found = await connection.execute(select(table.c.id).where(table.c.id.in_(failed), *beyond))
            surplus = list(found.scalars())
            if surplus:
                await _delete(connection, surplus)
        return surplus

    @persistent
    async def expire(self, before: datetime) -> int:
        """Delete what was last renewed before then, and old notices; how many subscriptions it were."""
        table, notices = schema.push_subscriptions, schema.push_notices
        async with self._database.read() as connection:
            ids = list((await connection.execute(select(table.c.id).where(table.c.renewed_at < before))).scalars())
            is_old = (
                await connection.execute(select(notices.c.incident_id).where(notices.c.claimed_at < before))
            ).first()
        if not ids and is_old is None:
            return 0
        async with self._database.write() as (connection, _):
            for start in range(0, len(ids), _BATCH):
                await _delete(connection, ids[start : start + _BATCH])
            await connection.execute(notices.delete().where(notices.c.claimed_at < before))
        return len(ids)

    @persistent
    async def of(self, ids: Sequence[int]) -> Sequence[PushSubscription]:
        """Those with these ids, without those that are gone."""
        table = schema.push_subscriptions
        async with self._database.read() as connection:
            rows = (await connection.execute(select(table).where(table.c.id.in_(ids)).order_by(table.c.id))).all()
        return [_read(row) for row in rows]

    @persistent
    async def around(self, hazard: str, lat: float, lon: float) -> Sequence[PushSubscription]:
        """Those who want to know of a hazard at a place, oldest first."""
        table = schema.push_subscriptions
        inside = (table.c.south <= lat, table.c.north >= lat, table.c.west <= lon, table.c.east >= lon)
        async with self._database.read() as connection:
            rows = (await connection.execute(select(table).where(*inside).order_by(table.c.id))).all()
        found = (_read(row) for row in rows if f",{hazard}," in row.hazards)
        return [each for each in found if each.wish.wants(hazard, lat, lon)]


async def _delete(connection: Any, ids: Sequence[int]) -> None:
    table, notices = schema.push_subscriptions, schema.push_notices
    await connection.execute(notices.delete().where(notices.c.subscription_id.in_(ids)))
    await connection.execute(table.delete().where(table.c.id.in_(ids)))


def _columns(sealed: str, wish: Wish) -> dict[str, Any]:
    south, west, north, east = wish.area.box()
    return {
        "sealed": sealed,
        "language": wish.language,
        "hazards": f",{','.join(wish.hazards)},",
        "area": encode_area(wish.area),
        **{"south": south, "west": west, "north": north, "east": east},
        "quiet_hours": None if wish.quiet is None else msgspec.json.encode(wish.quiet).decode(),
        "renewed_at": utc_now(),
        # Who opens the page again is there again.
        **{"failures": 0, "failing_since": None},
    }


def _read(row: Row[Any]) -> PushSubscription:
    quiet = None if row.quiet_hours is None else msgspec.json.decode(row.quiet_hours, type=QuietHours)
    hazards = tuple(row.hazards.strip(",").split(","))
    return PushSubscription(row.id, row.sealed, Wish(hazards, decode_area(row.area), row.language, quiet))
