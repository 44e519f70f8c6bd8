"""The right to post an incident on a channel, which is given once, and the posts that went out."""

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
from store.records import Claim, Post
from store.rows import read_post


class Posts:
    """Claims and posts, one for each incident and channel."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def claim(
        self, incident_id: int, channel: str, event_id: str, text: Caption | None = None, *, stale_s: float = 60.0
    ) -> Claim:
        """Take the right to post an incident on a channel, before posting, and keep what is about to be said.

        A claim whose worker died is taken over: at once when its own event is delivered again, and by any later event
        of the incident once the claim is `stale_s` old. It is taken over with its words, for they may have gone out,
        and a channel may know its own post by nothing else. "busy" needs no wait: the event that holds the claim is
        not acknowledged yet, so the broker will deliver it again should its worker die. A false alarm is "withdrawn".

        Raises:
            StoreError: the database is not available.
        """
        table = schema.posts
        this = and_(table.c.incident_id == incident_id, table.c.channel == channel)
        async with self._database.read() as connection:
            state = (await connection.execute(select(table.c.state).where(this))).scalar_one_or_none()
        if state == "posted":
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
                said = {} if text is None else {"text_en": text.en, "text_ko": text.ko}
                await connection.execute(insert(table).values(**mine, **said, claimed_at=now, claimed_by=event_id))
                return Claim("ours", text, fresh_at=now)
            if row.state == "posted":
                return Claim("posted")
            if row.claimed_by != event_id and now - row.claimed_at < timedelta(seconds=stale_s):
                return Claim("busy")
            await connection.execute(update(table).where(this).values(claimed_at=now, claimed_by=event_id))
            return Claim("ours", text if row.text_en is None else Caption(en=row.text_en, ko=row.text_ko))

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
        """Say that a claimed post went out, with its words and pictures. Idempotent: the first confirmation stays.

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
                    text_en=text.en,
                    text_ko=text.ko,
                    snapshot_key=snapshot_key,
                    reference=reference,
                    location_key=location_key,
                    revision=revision,
                )
            )

    @persistent
    async def release(self, incident_id: int, channel: str, claim: Claim) -> None:
        """Give back a claim whose post is known not to have gone out: any later event may try, in its own words.

        One that was taken over stays, and with it its words: that this attempt failed says nothing of those before. So
        does one that another attempt has taken over meanwhile.

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
        """The post of that id, if it went out."""
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
        """The incidents that a channel has not told of, by channel; empty for one that has told of all.

        A channel owes what was begun on it, and whatever was first seen after it had begun with anything: one that was
        added today owes nothing of yesterday. A false alarm is owed to none.

        Args:
            since: the first of them were seen then.
            until: what was seen later may still be on its way.

        Raises:
            StoreError: the database is not available.
        """
        incidents, posts = schema.incidents.c, schema.posts.c
        joined = schema.incidents.outerjoin(schema.posts, posts.incident_id == incidents.id)
        query = select(incidents.id, incidents.first_seen, posts.channel, posts.state, posts.claimed_at)
        query = query.select_from(joined).where(incidents.last_seen >= since, incidents.verdict != "false_alarm")
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        seen = {row.id: row.first_seen for row in rows if since <= row.first_seen <= until}
        begun: dict[str, dict[int, datetime]] = defaultdict(dict)
        told: dict[str, set[int]] = defaultdict(set)
        for row in rows:
            if row.channel is not None:
                begun[row.channel][row.id] = row.claimed_at
                told[row.channel].update([row.id] if row.state == "posted" else [])
        missing = {}
        for channel, claims in begun.items():
            first = min(claims.values())
            due = {i for i, at in seen.items() if i in claims or at >= first}
            missing[channel] = sorted(due - told[channel])
        return missing


def select_posts() -> Select[Any]:
    """Posts that went out, each with its incident's columns prefixed `of_`, for `read_post`."""
    of = [column.label(f"of_{column.name}") for column in schema.incidents.c]
    joined = schema.posts.join(schema.incidents, schema.posts.c.incident_id == schema.incidents.c.id)
    return select(*schema.posts.c, *of).select_from(joined).where(schema.posts.c.state == "posted")
