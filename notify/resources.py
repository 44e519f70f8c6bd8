"""Opens the database and the picture store, for the functions of this package, before their first event."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from functions.backoff import backoff_s
from functions.event import Captioned
from functions.function import Reject
from functions.signature import SignatureError, Verifier

if TYPE_CHECKING:
    from store import Store
    from store.settings import StoreSettings
    from store.snapshots import Snapshots

LATE_IMPORTS = ("store", "store.snapshots", "sqlalchemy.dialects.sqlite.aiosqlite", "obstore.store")
"""Modules that `open_stores` imports when it is called; a parent that forks replicas imports them in advance."""

log = structlog.get_logger()

forged_total = Counter("bongsu_captions_forged_total", "Captioned events without the captioner's signature")

RETRY_AFTER_S = 20.0
"""Retry delay after the database or the picture store fails: eight deliveries outlast a failover."""


@contextlib.asynccontextmanager
async def open_stores() -> AsyncIterator[tuple[Store, Snapshots]]:
    """The database and the picture store that the environment names; waits until the database can be reached.

    Raises:
        SettingsError, SnapshotError, StoreUrlError: an address is invalid, so waiting cannot help.
    """
    # Imported late: SQLAlchemy is most of a cold start, and a process that preloads this module does not need it yet.
    from store.settings import load
    from store.snapshots import Snapshots

    settings = load()
    snapshots = Snapshots.open(settings.snapshot_url)
    store = await _wait_for_store(settings)
    try:
        yield store, snapshots
    finally:
        await store.close()


def require_signature(event: Captioned, verifier: Verifier | None) -> None:
    """Check that the captioner signed a captioned event.

    Raises:
        Reject: it did not, or the event was altered.
    """
    try:
        if verifier is not None:
            verifier.require(event)
    except SignatureError as error:
        forged_total.inc()
        raise Reject(str(error)) from error


async def _wait_for_store(settings: StoreSettings) -> Store:
    from store import Store, StoreError, StoreUrlError

    attempt = 0
    while True:
        try:
            return await Store.open(settings.database_url, quiet_s=settings.quiet_s)
        except StoreUrlError:
            raise
        except StoreError as error:
            wait_s = backoff_s(attempt, first_s=0.5, longest_s=15.0)
            # Meanwhile the events wait in their queues, and no delivery attempts are counted.
            log.warning("database_unavailable", reason=str(error), again_in_s=round(wait_s, 2))
        attempt += 1
        await asyncio.sleep(wait_s)
