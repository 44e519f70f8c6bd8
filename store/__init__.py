"""Incidents, sightings, held alerts, posts, cameras, requests, sign-ins and push subscriptions in one database.

The functions, the API and the command line open a `Store`, which has one data-access class for each noun, in the file
of the same name. `database.py` opens the database and serializes writers, so every method of these classes may rely on
three things within `write`: nobody else writes, reads are current, and the revision is higher than all before.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from store.cameras import Cameras
from store.captions import Captions
from store.database import Database
from store.failures import SchemaError, StoreError, StoreUrlError
from store.held import HeldAlerts
from store.identity import Identity
from store.incidents import Incidents
from store.posts import Posts
from store.push_notices import PushNotices
from store.push_subscriptions import PushSubscriptions
from store.queries import Wanted
from store.requests import Requests
from store.reviews import Reviews
from store.revisions import Revisions
from store.sightings import Sightings
from store.signins import SignIns

__all__ = ["SchemaError", "Store", "StoreError", "StoreUrlError", "Wanted"]


class Store:
    """One database. Open it with `Store.open`, close it after."""

    def __init__(self, database: Database, quiet_s: float) -> None:
        self._database = database
        self.quiet_s = quiet_s
        """Seconds after which an unseen hazard is over."""
        quiet = timedelta(seconds=quiet_s)
        self.sightings = Sightings(database, quiet)
        self.captions = Captions(database, self.sightings)
        self.incidents = Incidents(database, quiet)
        self.reviews = Reviews(database)
        self.held = HeldAlerts(database)
        self.posts = Posts(database)
        self.cameras = Cameras(database)
        self.requests = Requests(database)
        self.signins = SignIns(database)
        self.push_subscriptions = PushSubscriptions(database)
        self.push_notices = PushNotices(database)
        self.revisions = Revisions(database)
        self.identity = Identity(database)

    @classmethod
    async def open(cls, url: str, *, quiet_s: float = 120.0) -> Self:
        """Connect, and create what is missing; several processes may do so at once.

        Args:
            url: `sqlite+aiosqlite:///file` or `mysql+aiomysql://…`.
            quiet_s: seconds after which an unseen hazard is over.

        Raises:
            StoreUrlError: the URL does not name a database that this store can use.
            StoreError: the database cannot be opened now.
        """
        return cls(await Database.open(url), quiet_s)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._database.close()
