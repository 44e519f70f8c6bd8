"""Claims, which let one worker post an incident on a channel, and the posts that went out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, insert, select, update

from functions.event import Caption, utc_now
from store import schema
from store.database import Database
from store.failures import persistent
from store.queries import HIDDEN
from store.records import Claim, Post
from store.rows import read_post, read_text, text_columns

_DONE = ("posted", "skipped")
"""States of which nothing more follows."""


class Posts:
    """Claims and posts, one for each incident and channel."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def claim(
        self, incident_id: int, channel: str, event_id: str, text: Caption | None = None, *, stale_s: float = 60.0
    ) -> Claim:
        """Claim an incident's post on a channel before posting, and store the text that is about to be posted.

        A claim whose worker died is taken over: at once when its own event is redelivered, and by any later event of
        the incident once the claim is `stale_s` old. The stored text is taken over with it: it may have gone out, and
        some channels can recognize their own post by its text alone. "busy" needs no wait: the event that holds the
        claim is not acknowledged yet, so the broker redelivers it if its worker dies. A false alarm is "withdrawn".

        Raises:
            StoreError: the database is not available.
        """
        table = schema.posts
        this = and_(table.c.incident_id == incident_id, table.c.channel == channel)
        async with self._database.read() as connection:
            state = (await connection.execute(select(table.c.state).where(this))).scalar_one_or_none()
        if state in _DONE:
            return Claim("posted")
        async with self._database.write() as (connection, _):
            now = utc_now()
            row = (await connection.execute(select(table).where(this))).one_or_none()
            incident = schema.incidents.c
            verdict = await connection.execute(select(incident.verdict).where(incident.id == incident_id))
            if verdict.scalar_one_or_none() == "false_alarm" and (row is None or row.state != "posted"):
                return Claim("withdrawn")
            if row is None:
                mine = {"incident_id": incident_id, "channel": channel, "state": "claimed", "revision": 0}
                values = {} if text is None else text_columns("text", text)
                await connection.execute(insert(table).values(**mine, **values, claimed_at=now, claimed_by=event_id))
                return Claim("ours", text, fresh_at=now)
            if row.state in _DONE:
                return Claim("posted")
            if row.claimed_by != event_id and now - row.claimed_at < timedelta(seconds=stale_s):
                return Claim("busy")
            await connection.execute(update(table).where(this).values(claimed_at=now, claimed_by=event_id))
            return Claim("ours", read_text(row._asdict(), "text") or text)

    @persistent
    async def skip(self, incident_id: int, channel: str, event_id: str) -> None:
        """Record that an incident is not for a channel, so that nobody takes it for missing there. Idempotent.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.posts
        this = select(table.c.state).where(table.c.incident_id == incident_id, table.c.channel == channel)
        async with self._database.read() as connection:
            if (await connection.execute(this)).scalar_one_or_none() is not None:
                return
        async with self._database.write() as (connection, _):
            if (await connection.execute(this)).scalar_one_or_none() is not None:
                return
            mine = {"incident_id": incident_id, "channel": channel, "state": "skipped", "revision": 0}
            await connection.execute(insert(table).values(**mine, claimed_at=utc_now(), claimed_by=event_id))

    @persistent
    async def confirm(
        self,
        incident_id: int,
        channel: str,
        *,
        text: Caption,
        snapshot_key: str | None,
        reference: str,
        location_key: str | None = None,
    ) -> None:
        """Record that a claimed post went out, with its text and pictures. Idempotent: the first confirmation stays.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.posts
        async with self._database.write() as (connection, revision):
            await connection.execute(
                update(table)
                .where(table.c.incident_id == incident_id, table.c.channel == channel, table.c.state == "claimed")
                .values(
                    state="posted",
                    posted_at=utc_now(),
                    **text_columns("text", text),
                    snapshot_key=snapshot_key,
                    reference=reference,
                    location_key=location_key,
                    revision=revision,
                )
            )

    @persistent
    async def release(self, incident_id: int, channel: str, claim: Claim) -> None:
        """Give up a claim whose post certainly did not go out: any later event may try, with its own text.

        A claim that this attempt took over stays, with its text: the failure of this attempt does not show whether an
        earlier one went out. A claim that another attempt has taken over since stays too.

        Raises:
            StoreError: the database is not available.
        """
        if claim.fresh_at is None:
            return
        table = schema.posts
        this = and_(table.c.incident_id == incident_id, table.c.channel == channel)
        is_mine = and_(table.c.claimed_at == claim.fresh_at, table.c.state == "claimed")
        async with self._database.write() as (connection, _):
            await connection.execute(table.delete().where(this, is_mine))

    @persistent
    async def get(self, post_id: int) -> Post | None:
        """The post with that id, if it went out."""
        async with self._database.read() as connection:
            row = (await connection.execute(select_posts().where(schema.posts.c.id == post_id))).one_or_none()
        return None if row is None else read_post(row)

    @persistent
    async def newest(self, channel: str = "feed", limit: int = 100) -> Sequence[Post]:
        """Posts of a channel, newest first."""
        table = schema.posts
        query = select_posts().where(table.c.channel == channel).order_by(table.c.posted_at.desc(), table.c.id.desc())
        async with self._database.read() as connection:
            rows = (await connection.execute(query.limit(limit))).all()
        return [read_post(row) for row in rows]

    @persistent
    async def of_incident(self, incident_id: int) -> Sequence[Post]:
        """Posts of an incident, in the order they went out."""
        query = select_posts().where(schema.posts.c.incident_id == incident_id).order_by(schema.posts.c.posted_at)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [read_post(row) for row in rows]

    @persistent
    async def missing(self, since: datetime, until: datetime) -> Mapping[str, Sequence[int]]:
        """Incidents that a channel should have posted and has not, by channel; empty where none are missing.

        A channel must post every incident that it claimed, and every one first seen after its first claim: a channel
        added today need not post yesterday's incidents. False alarms and held alerts are not posted.

        Args:
            since: only incidents first seen then or later.
            until: only incidents first seen before then; later posts may still be on their way.

        Raises:
            StoreError: the database is not available.
        """
        incidents, posts = schema.incidents.c, schema.posts.c
        joined = schema.incidents.outerjoin(schema.posts, posts.incident_id == incidents.id)
        query = select(incidents.id, incidents.first_seen, posts.channel, posts.state, posts.claimed_at)
        query = query.select_from(joined).where(incidents.last_seen >= since, incidents.verdict.not_in(HIDDEN))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        seen = {row.id: row.first_seen for row in rows if since <= row.first_seen <= until}
        begun: dict[str, dict[int, datetime]] = defaultdict(dict)
        posted: dict[str, set[int]] = defaultdict(set)
        for row in rows:
            if row.channel is not None:
                begun[row.channel][row.id] = row.claimed_at
                posted[row.channel].update([row.id] if row.state in _DONE else [])
        missing = {}
        for channel, claims in begun.items():
            first = min(claims.values())
            due = {i for i, at in seen.items() if i in claims or at >= first}
            missing[channel] = sorted(due - posted[channel])
        return missing


def select_posts() -> Select[Any]:
    """Posts that went out, each with its incident's columns prefixed `of_`, for `read_post`."""
    of = [column.label(f"of_{column.name}") for column in schema.incidents.c]
    joined = schema.posts.join(schema.incidents, schema.posts.c.incident_id == schema.incidents.c.id)
    return select(*schema.posts.c, *of).select_from(joined).where(schema.posts.c.state == "posted")
