"""Operators' verdicts on incidents, and the reviewed incidents, for retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select, update

from functions.event import utc_now
from store import schema
from store.database import Database
from store.failures import persistent
from store.held import is_unpublished
from store.queries import HELD
from store.records import Incident, Sighting, Verdict
from store.rows import read_incident, read_sighting


class Reviews:
    """Operators' verdicts on incidents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def give(self, incident_id: int, verdict: Verdict, *, by: str, note: str = "") -> Incident | None:
        """Store an operator's verdict on an incident; None if there is no such incident. Idempotent.

        Args:
            incident_id: the incident.
            verdict: a false alarm is closed; the next sighting opens a new incident. Of an incident whose alert is
                held, `acknowledged` releases the alert and `false_alarm` rejects it.
            by: name of the key.
            note: the reason, for people to read.

        Raises:
            StoreError: the database is not available.
        """
        review = {"verdict": verdict, "reviewed_by": by, "review_note": note}
        return await self._judge(incident_id, review, utc_now())

    @persistent
    async def withdraw(self, incident_id: int) -> Incident | None:
        """Remove a review; None if there is no such incident. Idempotent.

        An alert that was held and is not published yet is held again.

        The time is kept: a message about the removal must come after that about the review.

        Raises:
            StoreError: the database is not available.
        """
        return await self._judge(incident_id, {"verdict": "", "reviewed_by": None, "review_note": None}, utc_now())

    @persistent
    async def given(self, since: datetime | None = None) -> Sequence[tuple[Incident, Sequence[Sighting]]]:
        """Reviewed incidents, oldest review first, each with its sightings that have a picture.

        Args:
            since: only those reviewed then or later.
        """
        table, seen = schema.incidents, schema.sightings
        judged = select(table).where(table.c.reviewed_at >= (since or schema.EPOCH), table.c.verdict.not_in(("", HELD)))
        found = []
        async with self._database.read() as connection:
            for row in (await connection.execute(judged.order_by(table.c.reviewed_at, table.c.id))).all():
                shown = select(seen).where(seen.c.incident_id == row.id, seen.c.snapshot_key.is_not(None))
                rows = (await connection.execute(shown.order_by(seen.c.captured_at, seen.c.event_id))).all()
                found.append((read_incident(row), [read_sighting(one) for one in rows]))
        return found

    @persistent
    async def of_incidents(self, since: datetime) -> Sequence[Incident]:
        """Reviewed incidents that began then or later, oldest first.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.incidents
        # The second follows from the first, and has an index.
        judged = select(table).where(table.c.first_seen >= since, table.c.last_seen >= since, table.c.verdict != "")
        async with self._database.read() as connection:
            rows = (await connection.execute(judged.order_by(table.c.first_seen, table.c.id))).all()
        return [read_incident(row) for row in rows]

    async def _judge(self, incident_id: int, review: Mapping[str, str | None], at: datetime) -> Incident | None:
        table = schema.incidents
        this = select(table).where(table.c.id == incident_id)
        async with self._database.write() as (connection, revision):
            row = (await connection.execute(this)).one_or_none()
            if row is not None and review["verdict"] == "":
                if row.verdict == HELD:
                    review = {}
                elif row.verdict and await is_unpublished(connection, incident_id):
                    review = {**review, "verdict": HELD}
            if row is None or all(getattr(row, name) == value for name, value in review.items()):
                await connection.rollback()
                return None if row is None else read_incident(row)
            # It never goes back, even if this machine's clock does.
            values = {
                **review,
                "reviewed_at": at if row.reviewed_at is None else max(at, row.reviewed_at),
                "revision": revision,
            }
            await connection.execute(update(table).where(table.c.id == incident_id).values(**values))
            return read_incident((await connection.execute(this)).one())
