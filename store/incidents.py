"""Reading incidents: one by id, or a page of those that match a query."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from functions.event import utc_now
from store import schema
from store.database import Database
from store.failures import persistent
from store.queries import Finder, Wanted
from store.records import Incident, Listing, Position
from store.rows import read_incident


class Incidents:
    """Incidents, as the API and the poster read them."""

    def __init__(self, database: Database, quiet: timedelta) -> None:
        self._database = database
        self._quiet = quiet
        self._finder = Finder()

    @persistent
    async def get(self, incident_id: int) -> Incident | None:
        """The incident with that id; None if there is none."""
        table = schema.incidents
        async with self._database.read() as connection:
            row = (await connection.execute(select(table).where(table.c.id == incident_id))).one_or_none()
        return None if row is None else read_incident(row)

    @persistent
    async def find(self, wanted: Wanted | None = None) -> Listing:
        """Incidents, last seen first, with the revision they are read at; by default the newest 200."""
        wanted = wanted or Wanted()
        async with self._database.read() as connection:
            revision = (await connection.execute(select(schema.counter.c.value))).scalar_one()
            rows = await self._finder.find(connection, wanted, utc_now() - self._quiet)
        items = tuple(read_incident(row) for row in rows[: wanted.limit])
        has_more = len(rows) > wanted.limit and bool(items)
        return Listing(revision, items, Position(items[-1].last_seen, items[-1].id) if has_more else None)
