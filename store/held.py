"""Alerts that are held back until an operator reviews them, each with the signed event that is published then.

An incident is held if a second opinion confirmed none of its sightings. The map holds it and lifts the hold, in the
transaction that records a caption (`captions.py`); an operator's verdict releases or rejects it (`reviews.py`), and the
API publishes what was released.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from functions.event import Captioned, utc_now
from store import schema
from store.database import Database
from store.failures import persistent
from store.queries import HELD


@dataclass(frozen=True, slots=True)
class HeldAlert:
    """What is published if the alert is released."""

    incident_id: int
    event_id: str
    alert: bytes
    """A `captioned` event with the captioner's signature, encoded."""


class HeldAlerts:
    """Held alerts, at most one for each incident."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def to_publish(self, *, limit: int = 20) -> Sequence[HeldAlert]:
        """Alerts that an operator released and that were not published yet, oldest first."""
        table, incidents = schema.held_alerts, schema.incidents
        query = (
            select(table.c.incident_id, table.c.event_id, table.c.alert)
            .join(incidents, incidents.c.id == table.c.incident_id)
            .where(table.c.published_at.is_(None), incidents.c.verdict == "acknowledged")
            .order_by(table.c.incident_id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [HeldAlert(row.incident_id, row.event_id, base64.b64decode(row.alert)) for row in rows]

    @persistent
    async def mark_published(self, incident_id: int) -> None:
        """Record that a released alert was published; its event is not kept any longer. Idempotent."""
        table = schema.held_alerts
        async with self._database.write() as (connection, _):
            this = and_(table.c.incident_id == incident_id, table.c.published_at.is_(None))
            await connection.execute(update(table).where(this).values(published_at=utc_now(), alert=""))

    @persistent
    async def is_released(self, captioned: Captioned) -> bool:
        """Whether an operator released this event: then it is news, however old it is."""
        table, incidents = schema.held_alerts, schema.incidents
        query = (
            select(table.c.incident_id)
            .join(incidents, incidents.c.id == table.c.incident_id)
            .where(table.c.event_id == captioned.id, incidents.c.hazard == captioned.hazard)
            .where(incidents.c.verdict == "acknowledged")
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).first() is not None

    @persistent
    async def count(self) -> int:
        """How many incidents are held now."""
        query = select(func.count()).where(schema.incidents.c.verdict == HELD)
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    @persistent
    async def expire(self, before: datetime) -> int:
        """Delete alerts held since before then; returns how many of them nobody had reviewed."""
        table, incidents = schema.held_alerts, schema.incidents
        old = table.c.held_at < before
        waiting = (
            select(func.count())
            .select_from(table.join(incidents, incidents.c.id == table.c.incident_id))
            .where(old, incidents.c.verdict == HELD)
        )
        async with self._database.read() as connection:
            if (await connection.execute(select(table.c.incident_id).where(old).limit(1))).first() is None:
                return 0  # a write would take a revision for nothing
        async with self._database.write() as (connection, _):
            found = int((await connection.execute(waiting)).scalar_one())
            await connection.execute(delete(table).where(old))
        return found


def may_hold(incident: Row[Any]) -> bool:
    """Whether a held sighting holds its incident: not if another one's alert went out, or somebody reviewed it."""
    return incident.verdict == HELD or (incident.verdict == "" and incident.caption_en is None)


async def hold(connection: AsyncConnection, incident: Row[Any], captioned: Captioned, alert: bytes) -> None:
    """Hold an incident; the alert of its first held sighting is kept."""
    if incident.verdict == HELD:
        return
    # A row of before it was released and taken back.
    await connection.execute(delete(schema.held_alerts).where(schema.held_alerts.c.incident_id == incident.id))
    kept = {"event_id": captioned.id, "alert": base64.b64encode(alert).decode(), "held_at": utc_now()}
    await connection.execute(insert(schema.held_alerts).values(incident_id=incident.id, published_at=None, **kept))
    await connection.execute(update(schema.incidents).where(schema.incidents.c.id == incident.id).values(verdict=HELD))


async def lift(connection: AsyncConnection, incident: Row[Any]) -> None:
    """Hold an incident no longer, because another of its sightings passed and its alert goes out."""
    await connection.execute(update(schema.incidents).where(schema.incidents.c.id == incident.id).values(verdict=""))
    await connection.execute(delete(schema.held_alerts).where(schema.held_alerts.c.incident_id == incident.id))


async def is_unpublished(connection: AsyncConnection, incident_id: int) -> bool:
    """Whether an incident has a held alert that was not published."""
    table = schema.held_alerts
    query = select(table.c.incident_id).where(table.c.incident_id == incident_id, table.c.published_at.is_(None))
    return (await connection.execute(query)).first() is not None
