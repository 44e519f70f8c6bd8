"""Follows the database: which cameras there are, what is going on at each, and which of them changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from functions.event import HAZARDS, Hazard, utc_now
from notify.mqtt.messages import Site, View
from store import Store, Wanted
from store.records import Camera, Incident
from store.snapshots import SnapshotError, Snapshots

log = structlog.get_logger()

# The newest by time may be a false alarm, and an open one may have been seen a little before it.
_LOOKED_AT = 3


class Follower:
    """All cameras as the database has them; `look` says which changed since the last look."""

    def __init__(self, store: Store, snapshots: Snapshots, site: Site) -> None:
        self._store = store
        self._snapshots = snapshots
        self._site = site
        self._revision = 0
        self.views: dict[str, View] = {}
        """By the camera's id."""
        self._ends: dict[tuple[str, Hazard], datetime] = {}

    async def start_over(self) -> None:
        """Read everything again.

        Raises:
            StoreError: the database is not available.
        """
        # Before the rest: what changes meanwhile is read again.
        self._revision = await self._store.revisions.newest()
        self._ends.clear()
        old, self.views = self.views, {}
        for camera in await self._store.cameras.all():
            self._see(camera)
        for incident in (await self._store.incidents.find(Wanted(limit=200))).items:
            # Of cameras that have never reported, as where motion has no camera of that name any more.
            self.views.setdefault(incident.camera, View(incident.camera, incident.place))
        for view in self.views.values():
            if view.id in old:
                view.picture_key, view.picture = old[view.id].picture_key, old[view.id].picture
            await self._read(view, HAZARDS)

    async def look(self) -> set[str]:
        """The cameras of which something changed since the last look, or whose incident has ended by now.

        Raises:
            StoreError: the database is not available; ask again, nothing is missed.
        """
        changed = self._ended()
        while True:
            found = await self._store.revisions.changes_after(self._revision)
            for item in found.items:
                if isinstance(item, Camera):
                    self._see(item)
                    changed.add(item.id)
                elif isinstance(item, Incident):
                    view = self.views.setdefault(item.camera, View(item.camera, item.place))
                    await self._read(view, (item.hazard,))
                    changed.add(item.camera)
            self._revision = found.revision
            if not found.items:
                return changed

    async def check_pictures(self) -> set[str]:
        """The cameras whose picture was deleted from the store meanwhile: it should be shown no longer."""
        gone = set()
        for view in self.views.values():
            if view.picture is not None and not await self._is_there(view):
                view.picture, view.picture_key = None, None
                gone.add(view.id)
        return gone

    def _see(self, camera: Camera) -> None:
        view = self.views.setdefault(camera.id, View(camera.id, camera.place))
        view.camera, view.place = camera, camera.place

    async def _read(self, view: View, hazards: Iterable[Hazard]) -> None:
        now = utc_now()
        for hazard in hazards:
            wanted = Wanted(camera=view.id, hazards=(hazard,), limit=_LOOKED_AT)
            found = (await self._store.incidents.find(wanted)).items
            self._ends.pop((view.id, hazard), None)
            if not found:
                view.incidents.pop(hazard, None)
                continue
            newest = max(found, key=lambda i: (i.is_open(now, self._site.quiet_s), i.last_seen, i.id))
            view.incidents[hazard] = newest
            if newest.is_open(now, self._site.quiet_s):
                self._ends[view.id, hazard] = newest.last_seen + timedelta(seconds=self._site.quiet_s)
        await self._fetch(view)

    async def _fetch(self, view: View) -> None:
        key = view.pictured()
        if key == view.picture_key:
            return
        try:
            view.picture = None if key is None else await self._snapshots.get(key)
            view.picture_key = key
        except SnapshotError as error:
            # The last picture is of another incident. The next look at this camera, or the hourly one, tries again.
            view.picture, view.picture_key = None, None
            log.warning("picture_not_published", camera=view.id, reason=str(error))

    async def _is_there(self, view: View) -> bool:
        try:
            return view.picture_key is None or await self._snapshots.get(view.picture_key) is not None
        except SnapshotError:
            return True

    def _ended(self) -> set[str]:
        now = utc_now()
        ended = {key for key, end in self._ends.items() if end < now}
        for key in ended:
            del self._ends[key]
        return {camera for camera, _ in ended}
