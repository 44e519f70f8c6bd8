"""Caption and picture of an incident, from its best sighting, and the newest picture of a camera."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update

from functions.event import Captioned, utc_now
from store import schema
from store.clocks import clamp_future_time
from store.database import Database, next_revision
from store.failures import persistent
from store.held import hold, lift, may_hold
from store.queries import HELD
from store.rows import encode_trace, text_columns
from store.sightings import Sightings, staged

# A camera shows its newest picture, but not every frame of a long fire: each stored picture is kept for a month.
_CAMERA_PICTURE_S = 30.0


class Captions:
    """What `captioned` events add to their incidents."""

    def __init__(self, database: Database, sightings: Sightings) -> None:
        self._database = database
        self._sightings = sightings

    @persistent
    async def is_wanted(self, captioned: Captioned) -> bool:
        """Whether `add` would change what is shown; if not, the caller need not store the picture."""
        incident_id = await self._sightings.incident_of(captioned)
        if incident_id is None:
            return True
        incidents, cameras = schema.incidents, schema.cameras
        async with self._database.read() as connection:
            row = (await connection.execute(select(incidents).where(incidents.c.id == incident_id))).one_or_none()
            if row is None or row.verdict == HELD or _is_better(captioned, row):
                return True
            camera = await connection.execute(select(cameras).where(cameras.c.id == captioned.camera))
        return _is_newer(captioned, camera.one_or_none())

    @persistent
    async def add(
        self,
        captioned: Captioned,
        snapshot_key: str | None,
        *,
        by: str = "",
        got_at: datetime | None = None,
        held: bytes | None = None,
    ) -> int:
        """Show this event's caption and picture on its incident, and return the incident's id.

        Text and picture stay together, and the best sighting is shown: one with a picture before one without, then the
        more confident. Its camera shows the newest picture. Order of arrival does not matter. `by` and `got_at` as in
        `Sightings.record`.

        With `held`, the encoded event, its incident is held, unless the alert of another sighting went
        out or an operator has decided. Without it, an incident that is held is held no longer.

        Raises:
            StoreError: the database is not available.
        """
        incident_id = await self._sightings.record(captioned, by=by, got_at=got_at)
        incidents, cameras, sightings = schema.incidents, schema.cameras, schema.sightings
        passed = encode_trace(staged(captioned, by, got_at, utc_now()))
        async with self._database.write() as (connection, revision):
            await connection.execute(
                update(sightings)
                .where(sightings.c.event_id == captioned.id, sightings.c.hazard == captioned.hazard)
                .values(
                    # Who adds no stage of its own keeps the stages that another function has added.
                    caption_trace=passed if got_at else func.coalesce(sightings.c.caption_trace, passed),
                    **({} if snapshot_key is None else {"snapshot_key": snapshot_key}),
                )
            )
            row = (await connection.execute(select(incidents).where(incidents.c.id == incident_id))).one()
            is_shown = _is_better(captioned, row)
            if held is not None:
                is_shown = is_shown and may_hold(row)
                if may_hold(row):
                    await hold(connection, row, captioned, held)
            elif row.verdict == HELD:
                # What is shown passed, whatever was seen with more confidence.
                is_shown = True
                await lift(connection, row)
            if is_shown:
                await connection.execute(
                    update(incidents)
                    .where(incidents.c.id == incident_id)
                    .values(
                        **text_columns("caption", captioned.caption),
                        caption_confidence=captioned.confidence,
                        snapshot_key=snapshot_key,
                        revision=revision,
                    )
                )
            this = cameras.c.id == captioned.camera
            camera = (await connection.execute(select(cameras).where(this))).one_or_none()
            if camera is not None and snapshot_key is not None and held is None and _is_newer(captioned, camera):
                shown = {"snapshot_key": snapshot_key, "snapshot_at": _seen_at(captioned)}
                await connection.execute(
                    update(cameras).where(this).values(**shown, revision=await next_revision(connection))
                )
        return incident_id


def _is_better(captioned: Captioned, shown: Row[Any]) -> bool:
    if shown.caption_en is None:
        return True
    offered = (captioned.snapshot is not None, captioned.confidence)
    return offered > (shown.snapshot_key is not None, shown.caption_confidence)


def _is_newer(captioned: Captioned, camera: Row[Any] | None) -> bool:
    """Whether this event's picture replaces the one that its camera shows."""
    if camera is None or captioned.snapshot is None:
        return False
    shown_at = camera.snapshot_at
    return shown_at is None or (_seen_at(captioned) - shown_at).total_seconds() >= _CAMERA_PICTURE_S


def _seen_at(captioned: Captioned) -> datetime:
    return clamp_future_time(captioned.captured_at, utc_now())
