"""Cameras: their position and the status that each last reported."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, update

from functions.event import CameraStatus, utc_now
from functions.reasons import ADDRESS
from store import schema
from store.clocks import clamp_future_time
from store.database import Database
from store.failures import persistent
from store.records import Camera
from store.rows import read_camera


class Cameras:
    """The last reported state of each camera."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def record(self, heard: CameraStatus) -> None:
        """Store the state in a `camera` event, unless that camera has already reported a newer one.

        Raises:
            StoreError: the database is not available.
        """
        table, place, at = schema.cameras, heard.place, clamp_future_time(heard.captured_at, utc_now())
        reported = {
            "lat": place.lat,
            "lon": place.lon,
            "place": place.name,
            "region": place.region,
            # The public reads this. A reason should never contain a stream's address; if one does, it is removed here.
            "status": ADDRESS.sub("(address)", heard.status),
        }
        async with self._database.write() as (connection, revision):
            row = (await connection.execute(select(table).where(table.c.id == heard.camera))).one_or_none()
            if row is None:
                values = reported | {"changed_at": at, "heard_at": at, "revision": revision}
                await connection.execute(insert(table).values(id=heard.camera, **values))
                return
            if at <= row.heard_at or all(getattr(row, name) == value for name, value in reported.items()):
                await connection.rollback()
                return
            changed_at = row.changed_at if row.status == reported["status"] else at
            values = reported | {"changed_at": changed_at, "heard_at": at, "revision": revision}
            await connection.execute(update(table).where(table.c.id == heard.camera).values(**values))

    @persistent
    async def get(self, camera_id: str) -> Camera | None:
        """The camera with that id; None if it never reported."""
        table = schema.cameras
        async with self._database.read() as connection:
            row = (await connection.execute(select(table).where(table.c.id == camera_id))).one_or_none()
        return None if row is None else read_camera(row)

    @persistent
    async def all(self) -> Sequence[Camera]:
        """All cameras that ever reported, by id."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(schema.cameras).order_by(schema.cameras.c.id))).all()
        return [read_camera(row) for row in rows]
