"""What each subscriber was sent of each incident: claimed before it is sent, so that the same is sent once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, insert, select, update

from functions.event import utc_now
from store import schema
from store.database import Database
from store.failures import persistent
from store.records import Incident
from store.rows import read_incident

WITHDRAWN = "withdrawn"
"""The content of a notice that says that it was a false alarm."""


class PushNotices:
    """Notices, one for each incident and subscriber, replaced by each later one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def due(
        self, incident_id: int, subscribers: Collection[int], content: str, *, changed_before: datetime
    ) -> list[int]:
        """Those of the subscribers who do not know this content yet, in order.

        Args:
            incident_id: the incident.
            subscribers: whom it concerns.
            content: digest of what is to be sent, or `WITHDRAWN`.
            changed_before: who was sent something else later than this is not sent more yet.
        """
        rows = await self._of(incident_id)
        return [
            subscriber
            for subscriber in sorted(subscribers)
            if (row := rows.get(subscriber)) is None
            or row.state != "sent"
            or (row.content not in (content, WITHDRAWN) and row.claimed_at < changed_before)
        ]

    @persistent
    async def informed(self, incident_id: int) -> list[int]:
        """Those who were informed of an incident, or may have been, and not yet that it was a false alarm."""
        rows = await self._of(incident_id)
        return sorted(id_ for id_, row in rows.items() if row.content != WITHDRAWN or row.state != "sent")

    @persistent
    async def claim(
        self, incident_id: int, subscribers: Sequence[int], content: str, *, by: str, stale_s: float = 60.0
    ) -> dict[int, bool]:
        """Claim the right to send these subscribers this content; those to whom nobody else sends or has sent it.

        Returns:
            For each of them, whether something about the incident was sent before: then it is an update.

        A claim whose worker died is taken over: at once by a redelivery of the same message (`by`), and by any other
        once it is `stale_s` old. What then may be sent twice replaces itself on the device, by its tag.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.push_notices
        async with self._database.write() as (connection, _):
            now = utc_now()
            these = and_(table.c.incident_id == incident_id, table.c.subscription_id.in_(subscribers))
            held = {row.subscription_id: row for row in (await connection.execute(select(table).where(these))).all()}
            kept = schema.push_subscriptions.c.id
            alive = set((await connection.execute(select(kept).where(kept.in_(subscribers)))).scalars())
            ours = [id_ for id_ in subscribers if id_ in alive and _is_free(held.get(id_), content, by, now, stale_s)]
            values = {"content": content, "claimed_at": now, "claimed_by": by}
            claimed = {id_: id_ in held and held[id_].state != "claimed" for id_ in ours}
            for state, is_update in (("claimed", False), ("changing", True)):
                if old := [id_ for id_ in ours if id_ in held and claimed[id_] == is_update]:
                    this = and_(table.c.incident_id == incident_id, table.c.subscription_id.in_(old))
                    await connection.execute(update(table).where(this).values(state=state, **values))
            if new := [id_ for id_ in ours if id_ not in held]:
                fresh = {"incident_id": incident_id, "state": "claimed", **values}
                await connection.execute(insert(table), [{"subscription_id": id_, **fresh} for id_ in new])
            return claimed

    @persistent
    async def confirm(self, incident_id: int, subscribers: Sequence[int], content: str) -> None:
        """Record that these were informed. Idempotent."""
        if not subscribers:
            return
        table = schema.push_notices
        async with self._database.write() as (connection, _):
            these = and_(table.c.incident_id == incident_id, table.c.subscription_id.in_(subscribers))
            await connection.execute(update(table).where(these, table.c.content == content).values(state="sent"))

    @persistent
    async def to_withdraw(self, since: datetime, limit: int = 100) -> Sequence[Incident]:
        """False alarms, reviewed then or later, of which somebody was informed and does not know yet that they were."""
        incidents, table = schema.incidents, schema.push_notices
        owed = table.c.incident_id == incidents.c.id, (table.c.content != WITHDRAWN) | (table.c.state != "sent")
        query = (
            select(incidents)
            .where(incidents.c.verdict == "false_alarm", incidents.c.reviewed_at >= since)
            .where(select(table.c.incident_id).where(*owed).exists())
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(incidents.c.reviewed_at).limit(limit))).all()
        return [read_incident(row) for row in rows]

    async def _of(self, incident_id: int) -> dict[int, Row[Any]]:
        table = schema.push_notices
        async with self._database.read() as connection:
            rows = (await connection.execute(select(table).where(table.c.incident_id == incident_id))).all()
        return {row.subscription_id: row for row in rows}


def _is_free(row: Row[Any] | None, content: str, by: str, now: datetime, stale_s: float) -> bool:
    if row is None:
        return True
    if row.state == "sent":
        return bool(row.content not in (content, WITHDRAWN))
    return bool(row.claimed_by == by or now - row.claimed_at >= timedelta(seconds=stale_s))
