"""Incidents, sightings, posts and cameras in one database; the functions and the API use it, and only it speaks SQL.

`database.py` beside it opens the database and keeps writers in line, so that each method here may rely on it: within
`write` nobody else writes, what is read is current, and the revision is higher than all before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self, cast

from sqlalchemy import Row, Select, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from functions.event import HAZARDS, Caption, Event, Hazard, Stage, utc_now
from notify.map import queries, schema
from notify.map.database import Database, SchemaError, StoreError, StoreUrlError, persistent
from notify.map.queries import Wanted
from notify.map.records import Camera, Changes, Claim, Incident, Listing, Position, Post, Sighting, Verdict
from notify.map.rows import encode_detections, encode_trace, read_camera, read_incident, read_post, read_sighting

__all__ = ["SchemaError", "Store", "StoreError", "StoreUrlError", "Wanted", "hazard_of"]

# A camera shows its newest picture, but not each of a burning fire: each is kept for a month.
_CAMERA_PICTURE_S = 30.0
_DETECTIONS_KEPT = 200
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)


class Store:
    """One database. Open it with `Store.open`, close it after."""

    def __init__(self, database: Database, quiet_s: float) -> None:
        self._database = database
        self._quiet = timedelta(seconds=quiet_s)
        self._finder = queries.Finder()

    @classmethod
    async def open(cls, url: str, *, quiet_s: float = 120.0) -> Self:
        """Connect, and create what is missing; several processes may do so at once.

        Args:
            url: `sqlite+aiosqlite:///file` or `mysql+aiomysql://…`.
            quiet_s: seconds after which an unseen hazard is over.

        Raises:
            StoreUrlError: the URL is none that this store can use.
            StoreError: the database cannot be opened now.
        """
        return cls(await Database.open(url), quiet_s)

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        await self._database.close()

    @property
    def quiet_s(self) -> float:
        """Seconds after which an unseen hazard is over."""
        return self._quiet.total_seconds()

    # What the functions write.

    @persistent
    async def record_sighting(self, seen: Event, *, by: str = "", got_at: datetime | None = None) -> int:
        """Put a hazard (or captioned) event into its incident, and return the incident's id.

        An event extends the incident of its camera and hazard that was seen within the quiet period of it, by capture
        time, else it opens a new one. A false alarm is closed: only what was seen while it lasted joins it still. The
        same event again changes nothing. Order of arrival does not matter.

        Args:
            seen: a hazard event, or `captioned`.
            by: the function that records it; becomes a stage of the kept trace.
            got_at: when that function got it; without it no stage is added.

        Raises:
            StoreError: the database is not available.
        """
        hazard = hazard_of(seen)
        known = await self._incident_of(seen.id, hazard)
        if known is not None:
            return known
        async with self._database.write() as (connection, revision):
            # Again, now that writers are in line: another worker may have been first.
            known = await _sighting_incident(connection, seen.id, hazard)
            if known is not None:
                await connection.rollback()
                return known
            recorded_at = utc_now()
            incident_id = await self._extend_or_open(connection, revision, seen, hazard, recorded_at)
            await connection.execute(
                insert(schema.sightings).values(
                    event_id=seen.id,
                    hazard=hazard,
                    incident_id=incident_id,
                    captured_at=seen.captured_at,
                    recorded_at=recorded_at,
                    confidence=seen.confidence,
                    trace=encode_trace(_staged(seen, by, got_at, recorded_at)),
                    caption_trace=None,
                    detections=encode_detections(seen.detections[:_DETECTIONS_KEPT]),
                )
            )
            return incident_id

    @persistent
    async def wants_caption(self, captioned: Event) -> bool:
        """Whether `add_caption` would change what is shown: spares the writing of a picture that nobody will see."""
        incident_id = await self._incident_of(captioned.id, hazard_of(captioned))
        if incident_id is None:
            return True
        async with self._database.read() as connection:
            row = (await connection.execute(_incidents().where(schema.incidents.c.id == incident_id))).one_or_none()
            if row is None or _is_better(captioned, row):
                return True
            camera = await connection.execute(_camera(captioned.camera))
        return _is_newer(captioned, camera.one_or_none())

    @persistent
    async def add_caption(
        self, captioned: Event, snapshot_key: str | None, *, by: str = "", got_at: datetime | None = None
    ) -> int:
        """Show this event's caption and picture on its incident, and return the incident's id.

        Text and picture stay together, and the best sighting is shown: one with a picture before one without, then the
        more confident. Its camera shows the newest picture. Order of arrival does not matter. `by` and `got_at` as in
        `record_sighting`.

        Raises:
            StoreError: the database is not available.
            ValueError: the event has no caption.
        """
        if captioned.caption is None:
            raise ValueError(f"event {captioned.id} has no caption")
        incident_id = await self.record_sighting(captioned, by=by, got_at=got_at)
        hazard = hazard_of(captioned)
        async with self._database.write() as (connection, revision):
            await connection.execute(
                update(schema.sightings)
                .where(schema.sightings.c.event_id == captioned.id, schema.sightings.c.hazard == hazard)
                .values(
                    caption_trace=encode_trace(_staged(captioned, by, got_at, utc_now())),
                    **({} if snapshot_key is None else {"snapshot_key": snapshot_key}),
                )
            )
            row = (await connection.execute(_incidents().where(schema.incidents.c.id == incident_id))).one()
            if _is_better(captioned, row):
                await connection.execute(
                    update(schema.incidents)
                    .where(schema.incidents.c.id == incident_id)
                    .values(
                        caption_en=captioned.caption.en,
                        caption_ko=captioned.caption.ko,
                        caption_confidence=captioned.confidence,
                        snapshot_key=snapshot_key,
                        revision=revision,
                    )
                )
            camera = (await connection.execute(_camera(captioned.camera))).one_or_none()
            if camera is not None and snapshot_key is not None and _is_newer(captioned, camera):
                await connection.execute(
                    update(schema.cameras)
                    .where(schema.cameras.c.id == captioned.camera)
                    .values(snapshot_key=snapshot_key, snapshot_at=captioned.captured_at, revision=revision)
                )
        return incident_id

    @persistent
    async def record_camera(self, heard: Event) -> None:
        """Keep what a `camera` event says, unless something newer was heard of that camera.

        Raises:
            StoreError: the database is not available.
        """
        table, place = schema.cameras, heard.place
        told = {
            "lat": place.lat,
            "lon": place.lon,
            "place": place.name,
            "region": place.region,
            # The public reads this. A reason should never name a stream's address; if one does, it ends here.
            "status": _ADDRESS.sub("(address)", heard.status),
        }
        async with self._database.write() as (connection, revision):
            row = (await connection.execute(select(table).where(table.c.id == heard.camera))).one_or_none()
            if row is None:
                values = told | {"changed_at": heard.captured_at, "heard_at": heard.captured_at, "revision": revision}
                await connection.execute(insert(table).values(id=heard.camera, **values))
                return
            if heard.captured_at <= row.heard_at or all(getattr(row, name) == value for name, value in told.items()):
                await connection.rollback()
                return
            changed_at = row.changed_at if row.status == told["status"] else heard.captured_at
            values = told | {"changed_at": changed_at, "heard_at": heard.captured_at, "revision": revision}
            await connection.execute(update(table).where(table.c.id == heard.camera).values(**values))

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
                return Claim("ours", text)
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
    async def release(self, incident_id: int, channel: str, event_id: str) -> None:
        """Give back a claim whose post is known not to have gone out, so that any later event may try.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.posts
        mine = and_(table.c.incident_id == incident_id, table.c.channel == channel, table.c.claimed_by == event_id)
        async with self._database.write() as (connection, _):
            await connection.execute(table.delete().where(mine, table.c.state == "claimed"))

    # What operators write.

    @persistent
    async def review(self, incident_id: int, verdict: Verdict, *, by: str, note: str = "") -> Incident | None:
        """Keep what somebody who looked says of an incident; None where there is none. The same again changes nothing.

        Args:
            incident_id: of which.
            verdict: a false alarm is closed; the next sighting opens a new incident.
            by: name of the key.
            note: why, for people.

        Raises:
            StoreError: the database is not available.
        """
        said = {"verdict": verdict, "reviewed_by": by, "review_note": note}
        return await self._judge(incident_id, said, utc_now())

    @persistent
    async def withdraw_review(self, incident_id: int) -> Incident | None:
        """Take a review back, as if nobody had looked; None where there is no such incident. Idempotent.

        Raises:
            StoreError: the database is not available.
        """
        return await self._judge(incident_id, {"verdict": "", "reviewed_by": None, "review_note": None}, None)

    @persistent
    async def open_session(self, token_digest: str, key_digest: str, expires_at: datetime) -> None:
        """Remember a session, and forget those that are over. Both digests are hexadecimal SHA-256.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.sessions
        async with self._database.write() as (connection, _):
            await connection.execute(table.delete().where(table.c.expires_at < utc_now()))
            await connection.execute(table.delete().where(table.c.token == token_digest))
            kept = {"token": token_digest, "key_digest": key_digest, "expires_at": expires_at}
            await connection.execute(insert(table).values(**kept))

    @persistent
    async def session(self, token_digest: str) -> str | None:
        """The digest of the key that opened a session; None where it is over or never was."""
        table = schema.sessions
        query = select(table.c.key_digest).where(table.c.token == token_digest, table.c.expires_at >= utc_now())
        async with self._database.read() as connection:
            return cast("str | None", (await connection.execute(query)).scalar_one_or_none())

    @persistent
    async def close_session(self, token_digest: str) -> None:
        """Forget a session. Idempotent."""
        table = schema.sessions
        async with self._database.write() as (connection, _):
            await connection.execute(table.delete().where(table.c.token == token_digest))

    # What the API and the command line read.

    @persistent
    async def incident(self, incident_id: int) -> Incident | None:
        """The incident of that id."""
        async with self._database.read() as connection:
            row = (await connection.execute(_incidents().where(schema.incidents.c.id == incident_id))).one_or_none()
        return None if row is None else read_incident(row)

    @persistent
    async def incidents(self, wanted: Wanted | None = None) -> Listing:
        """Incidents, last seen first, with the revision they stand at; by default the newest 200."""
        wanted = wanted or Wanted()
        async with self._database.read() as connection:
            revision = (await connection.execute(select(schema.counter.c.value))).scalar_one()
            rows = await self._finder.find(connection, wanted, utc_now() - self._quiet)
        items = tuple(read_incident(row) for row in rows[: wanted.limit])
        has_more = len(rows) > wanted.limit and bool(items)
        return Listing(revision, items, Position(items[-1].last_seen, items[-1].id) if has_more else None)

    @persistent
    async def first_sighting(self, incident_id: int) -> Sighting | None:
        """The sighting that an incident began with."""
        table = schema.sightings
        query = select(table).where(table.c.incident_id == incident_id).order_by(table.c.captured_at).limit(1)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else read_sighting(row)

    @persistent
    async def reviewed(self, since: datetime | None = None) -> Sequence[tuple[Incident, Sequence[Sighting]]]:
        """Incidents that were reviewed, oldest review first, each with those of its sightings that have a picture.

        Args:
            since: only those reviewed then or later.
        """
        table, seen = schema.incidents, schema.sightings
        judged = (
            _incidents().where(table.c.reviewed_at >= (since or schema.EPOCH)).order_by(table.c.reviewed_at, table.c.id)
        )
        found = []
        async with self._database.read() as connection:
            for row in (await connection.execute(judged.order_by(table.c.reviewed_at, table.c.id))).all():
                shown = select(seen).where(seen.c.incident_id == row.id, seen.c.snapshot_key.is_not(None))
                rows = (await connection.execute(shown.order_by(seen.c.captured_at, seen.c.event_id))).all()
                found.append((read_incident(row), [read_sighting(one) for one in rows]))
        return found

    @persistent
    async def camera(self, camera_id: str) -> Camera | None:
        """The camera of that id, if it was ever heard of."""
        async with self._database.read() as connection:
            row = (await connection.execute(_camera(camera_id))).one_or_none()
        return None if row is None else read_camera(row)

    @persistent
    async def cameras(self) -> Sequence[Camera]:
        """All cameras that were ever heard of, by id."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(schema.cameras).order_by(schema.cameras.c.id))).all()
        return [read_camera(row) for row in rows]

    @persistent
    async def posts(self, channel: str = "feed", limit: int = 100) -> Sequence[Post]:
        """Posts of a channel, newest first."""
        table = schema.posts
        query = _posts().where(table.c.channel == channel).order_by(table.c.posted_at.desc(), table.c.id.desc())
        async with self._database.read() as connection:
            rows = (await connection.execute(query.limit(limit))).all()
        return [read_post(row) for row in rows]

    @persistent
    async def post(self, post_id: int) -> Post | None:
        """The post of that id, if it went out."""
        async with self._database.read() as connection:
            row = (await connection.execute(_posts().where(schema.posts.c.id == post_id))).one_or_none()
        return None if row is None else read_post(row)

    @persistent
    async def revision(self) -> int:
        """The last revision given out."""
        async with self._database.read() as connection:
            return cast(int, (await connection.execute(select(schema.counter.c.value))).scalar_one())

    @persistent
    async def changes(self, after: int, *, limit: int = 500) -> Changes:
        """What became visible after that revision, oldest first, each thing once, as it is now.

        With more than `limit` changes the first of them are returned: ask again from the revision that comes with them.
        """
        found: list[Incident | Post | Camera] = []
        async with self._database.read() as connection:
            revision = cast(int, (await connection.execute(select(schema.counter.c.value))).scalar_one())
            if revision <= after:
                return Changes(revision, ())
            for query, table, record in (
                (_incidents(), schema.incidents, read_incident),
                (_posts(), schema.posts, read_post),
                (select(schema.cameras), schema.cameras, read_camera),
            ):
                newer = query.where(table.c.revision > after).order_by(table.c.revision).limit(limit)
                found += [cast(Any, record)(row) for row in (await connection.execute(newer)).all()]
        found.sort(key=lambda item: item.revision)
        if len(found) >= limit:
            # Each table gave its first `limit`, so the first `limit` of all are complete.
            found = found[:limit]
            revision = found[-1].revision
        return Changes(revision, tuple(found))

    @persistent
    async def sightings(self, event_id: str) -> Sequence[Sighting]:
        """How an event was recorded, once for each hazard that was seen in it."""
        table = schema.sightings
        async with self._database.read() as connection:
            rows = (await connection.execute(select(table).where(table.c.event_id == event_id))).all()
        return [read_sighting(row) for row in rows]

    @persistent
    async def posts_of(self, incident_id: int) -> Sequence[Post]:
        """Posts of an incident, in the order they went out."""
        query = _posts().where(schema.posts.c.incident_id == incident_id).order_by(schema.posts.c.posted_at)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [read_post(row) for row in rows]

    # How it is done.

    async def _judge(self, incident_id: int, said: Mapping[str, str | None], at: datetime | None) -> Incident | None:
        table = schema.incidents
        this = _incidents().where(table.c.id == incident_id)
        async with self._database.write() as (connection, revision):
            row = (await connection.execute(this)).one_or_none()
            if row is None or all(getattr(row, name) == value for name, value in said.items()):
                await connection.rollback()
                return None if row is None else read_incident(row)
            values = {**said, "reviewed_at": at, "revision": revision}
            await connection.execute(update(table).where(table.c.id == incident_id).values(**values))
            return read_incident((await connection.execute(this)).one())

    async def _incident_of(self, event_id: str, hazard: Hazard) -> int | None:
        async with self._database.read() as connection:
            return await _sighting_incident(connection, event_id, hazard)

    async def _extend_or_open(
        self, connection: AsyncConnection, revision: int, seen: Event, hazard: Hazard, recorded_at: datetime
    ) -> int:
        table, at = schema.incidents, seen.captured_at
        near = await connection.execute(
            _incidents().where(
                table.c.camera == seen.camera,
                table.c.hazard == hazard,
                table.c.first_seen <= at + self._quiet,
                table.c.last_seen >= at - self._quiet,
                # What was looked at was no hazard; what comes after it may be one.
                or_(table.c.verdict != "false_alarm", and_(table.c.first_seen <= at, table.c.last_seen >= at)),
            )
        )
        row = _choose(near.all(), at)
        if row is None:
            place = seen.place
            opened = await connection.execute(
                insert(table).values(
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


def hazard_of(seen: Event) -> Hazard:
    """The hazard that an event is about: its own field, or its type.

    Raises:
        ValueError: it is about none.
    """
    named = seen.hazard or seen.type
    for hazard in HAZARDS:
        if named == hazard:
            return hazard
    raise ValueError(f"event {seen.id}: type must be one of {', '.join(HAZARDS)}, got {seen.type!r} without a hazard")


def _choose(rows: Sequence[Row[Any]], at: datetime) -> Row[Any] | None:
    """The incident that an event at `at` belongs to: the newest that had begun, as if all had come in order; or else,
    for one that comes late, the first to begin after it."""
    begun = [row for row in rows if row.first_seen <= at]
    if begun:
        return max(begun, key=lambda row: (row.first_seen, row.id))
    return min(rows, key=lambda row: (row.first_seen, row.id), default=None)


def _is_better(captioned: Event, shown: Row[Any]) -> bool:
    if shown.caption_en is None:
        return True
    offered = (captioned.snapshot is not None, captioned.confidence)
    return offered > (shown.snapshot_key is not None, shown.caption_confidence)


async def _sighting_incident(connection: AsyncConnection, event_id: str, hazard: Hazard) -> int | None:
    table = schema.sightings
    query = select(table.c.incident_id).where(table.c.event_id == event_id, table.c.hazard == hazard)
    return cast("int | None", (await connection.execute(query)).scalar_one_or_none())


def _is_newer(captioned: Event, camera: Row[Any] | None) -> bool:
    """Whether a camera is to show this event's picture from now on."""
    if camera is None or captioned.snapshot is None:
        return False
    shown_at = camera.snapshot_at
    return shown_at is None or (captioned.captured_at - shown_at).total_seconds() >= _CAMERA_PICTURE_S


def _incidents() -> Select[Any]:
    return select(schema.incidents)


def _camera(camera_id: str) -> Select[Any]:
    return select(schema.cameras).where(schema.cameras.c.id == camera_id)


def _posts() -> Select[Any]:
    """Posts that went out, each with its incident's columns prefixed `of_`."""
    of = [column.label(f"of_{column.name}") for column in schema.incidents.c]
    joined = schema.posts.join(schema.incidents, schema.posts.c.incident_id == schema.incidents.c.id)
    return select(*schema.posts.c, *of).select_from(joined).where(schema.posts.c.state == "posted")


def _staged(seen: Event, by: str, got_at: datetime | None, done_at: datetime) -> tuple[Stage, ...]:
    return seen.trace if got_at is None else (*seen.trace, Stage(by, got_at, done_at))
