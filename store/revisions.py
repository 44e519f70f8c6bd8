"""Changes since a revision, for the live stream and for clients that reconnect."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import select

from store import schema
from store.database import Database
from store.failures import persistent
from store.posts import select_posts
from store.records import Camera, Changes, Incident, Post
from store.rows import read_camera, read_incident, read_post


class Revisions:
    """The order in which incidents, posts and cameras last changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def newest(self) -> int:
        """The last revision that was assigned."""
        async with self._database.read() as connection:
            return cast(int, (await connection.execute(select(schema.counter.c.value))).scalar_one())

    @persistent
    async def changes_after(self, revision: int, *, limit: int = 500) -> Changes:
        """Incidents, posts and cameras that changed after that revision, oldest first, each once in its present state.

        With more than `limit` changes the first are returned: ask again from the revision that is returned with them.
        """
        found: list[Incident | Post | Camera] = []
        async with self._database.read() as connection:
            newest = cast(int, (await connection.execute(select(schema.counter.c.value))).scalar_one())
            if newest <= revision:
                return Changes(newest, ())
            for query, table, record in (
                (select(schema.incidents), schema.incidents, read_incident),
                (select_posts(), schema.posts, read_post),
                (select(schema.cameras), schema.cameras, read_camera),
            ):
                newer = query.where(table.c.revision > revision).order_by(table.c.revision).limit(limit)
                found += [cast(Any, record)(row) for row in (await connection.execute(newer)).all()]
        found.sort(key=lambda item: item.revision)
        if len(found) >= limit:
            # Each table returned its first `limit`, so the first `limit` of all are complete.
            found = found[:limit]
            newest = found[-1].revision
        return Changes(newest, tuple(found))
