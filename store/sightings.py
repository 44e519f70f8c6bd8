"""Decides which incident an event belongs to, in this one place, and stores each event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
from sqlalchemy import Row, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from functions.event import Captioned, Hazard, HazardSeen, Stage, utc_now
from store import schema
from store.clocks import clamp_future_time
from store.database import Database
from store.failures import persistent
from store.records import Sighting
from store.rows import encode_detections, encode_trace, read_sighting

_DETECTIONS_KEPT = 200


class Sightings:
    """Recorded events, each in its incident."""

    def __init__(self, database: Database, quiet: timedelta) -> None:
        self._database = database
        self._quiet = quiet

    @persistent
    async def record(self, seen: HazardSeen | Captioned, *, by: str = "", got_at: datetime | None = None) -> int:
        """Add a hazard (or captioned) event to its incident, and return the incident's id.

        An event extends the incident of its camera and hazard whose sightings lie within the quiet period of it, by
        capture time, else it opens a new one. A false alarm is closed: only an event captured while it lasted is still
        added to it. Idempotent, and independent of the order of arrival.

        Args:
            seen: a hazard event, or `captioned`.
            by: the function that records it; becomes a stage of the kept trace.
            got_at: when that function received it; without it no stage is added.

        Raises:
            StoreError: the database is not available.
        """
        hazard = seen.hazard
        known = await self.incident_of(seen)
        if known is not None:
            return known
        async with self._database.write() as (connection, revision):
            # Look again now that we hold the write lock: another worker may have been first.
            known = await _find(connection, seen.id, hazard)
            if known is not None:
                await connection.rollback()
                return known
            recorded_at = utc_now()
            # The sighting itself keeps the time that its event claims.
            timely = msgspec.structs.replace(seen, captured_at=clamp_future_time(seen.captured_at, recorded_at))
            incident_id = await self._extend_or_open(connection, revision, timely, hazard, recorded_at)
            await connection.execute(
                insert(schema.sightings).values(
                    event_id=seen.id,
                    hazard=hazard,
                    incident_id=incident_id,
                    captured_at=seen.captured_at,
                    recorded_at=recorded_at,
                    confidence=seen.confidence,
                    trace=encode_trace(staged(seen, by, got_at, recorded_at)),
                    caption_trace=None,
                    detections=encode_detections(seen.detections[:_DETECTIONS_KEPT]),
                )
            )
            return incident_id

    async def incident_of(self, seen: HazardSeen | Captioned) -> int | None:
        """The incident that an event was added to; None if it is not recorded yet."""
        async with self._database.read() as connection:
            return await _find(connection, seen.id, seen.hazard)

    @persistent
    async def first_of(self, incident_id: int) -> Sighting | None:
        """The first sighting of an incident, by capture time."""
        table = schema.sightings
        query = select(table).where(table.c.incident_id == incident_id).order_by(table.c.captured_at).limit(1)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else read_sighting(row)

    @persistent
    async def of_event(self, event_id: str) -> Sequence[Sighting]:
        """The sightings recorded for an event, one for each hazard in it."""
        table = schema.sightings
        async with self._database.read() as connection:
            rows = (await connection.execute(select(table).where(table.c.event_id == event_id))).all()
        return [read_sighting(row) for row in rows]

    async def _extend_or_open(
        self,
        connection: AsyncConnection,
        revision: int,
        seen: HazardSeen | Captioned,
        hazard: Hazard,
        recorded_at: datetime,
    ) -> int:
        table, at = schema.incidents, seen.captured_at
        near = await connection.execute(
            select(table).where(
                table.c.camera == seen.camera,
                table.c.hazard == hazard,
                table.c.first_seen <= at + self._quiet,
                table.c.last_seen >= at - self._quiet,
                # A reviewed false alarm takes no later events: what follows it may be a real hazard.
                or_(table.c.verdict != "false_alarm", and_(table.c.first_seen <= at, table.c.last_seen >= at)),
            )
        )
        row = _choose(near.all(), at)
        if row is None:
            return await _open(connection, revision, seen, hazard, recorded_at)
        await connection.execute(
            update(table)
            .where(table.c.id == row.id)
            .values(
                first_seen=min(row.first_seen, at),
                last_seen=max(row.last_seen, at),
                confidence=max(row.confidence, seen.confidence),
                sightings=row.sightings + 1,
                revision=revision,
                late=seen.late if at < row.first_seen else row.late,
            )
        )
        return cast(int, row.id)


def staged(seen: HazardSeen | Captioned, by: str, got_at: datetime | None, done_at: datetime) -> tuple[Stage, ...]:
    """The trace of an event, with a stage for the function that records it if `got_at` is given."""
    return seen.trace if got_at is None else (*seen.trace, Stage(by, got_at, done_at))


async def _open(
    connection: AsyncConnection, revision: int, seen: HazardSeen | Captioned, hazard: Hazard, recorded_at: datetime
) -> int:
    place, at = seen.place, seen.captured_at
    opened = await connection.execute(
        insert(schema.incidents).values(
            camera=seen.camera,
            hazard=hazard,
            lat=place.lat,
            lon=place.lon,
            place=place.name,
            region=place.region,
            first_seen=at,
            last_seen=at,
            confidence=seen.confidence,
            sightings=1,
            pin_s=(recorded_at - at).total_seconds(),
            revision=revision,
            late=seen.late,
        )
    )
    return cast(int, cast(Any, opened.inserted_primary_key)[0])


def _choose(rows: Sequence[Row[Any]], at: datetime) -> Row[Any] | None:
    """The incident for an event captured at `at`.

    It is the newest that had begun by then, as if all events had arrived in order. A late event that precedes all of
    them goes to the first that began after it.
    """
    begun = [row for row in rows if row.first_seen <= at]
    if begun:
        return max(begun, key=lambda row: (row.first_seen, row.id))
    return min(rows, key=lambda row: (row.first_seen, row.id), default=None)


async def _find(connection: AsyncConnection, event_id: str, hazard: Hazard) -> int | None:
    table = schema.sightings
    query = select(table.c.incident_id).where(table.c.event_id == event_id, table.c.hazard == hazard)
    return cast("int | None", (await connection.execute(query)).scalar_one_or_none())
