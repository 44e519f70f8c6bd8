"""Deletes old pictures: the API does so every hour, `bongsu snapshots prune` at once."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog

from api.settings import Settings
from store.snapshots import Pruned, SnapshotError, Snapshots
from web.background import in_background

log = structlog.get_logger()

_EVERY_S = 3600.0
_FIRST_AFTER_S = 30.0
_GB = 1_000_000_000
# 999999 days are meant as "forever", but are longer than the calendar, which begins 2,026 years ago.
_DAYS_MAX = 365_000.0


async def prune(snapshots: Snapshots, settings: Settings, *, is_rehearsal: bool = False) -> Pruned:
    """Delete pictures beyond the limits of the settings.

    Raises:
        SnapshotError: the pictures cannot be listed or deleted now.
    """
    days, gb = settings.snapshot_keep_days, settings.snapshot_keep_gb
    return await snapshots.prune(
        max_age=timedelta(days=min(days, _DAYS_MAX)) if days else None,
        max_bytes=int(gb * _GB) if gb else None,
        is_rehearsal=is_rehearsal,
    )


def pruning(snapshots: Snapshots, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Prune every hour while this context is open; several processes may do so at once."""
    return in_background("pruning", _prune_repeatedly(snapshots, settings))


async def _prune_repeatedly(snapshots: Snapshots, settings: Settings) -> None:
    if not (settings.snapshot_keep_days or settings.snapshot_keep_gb):
        return
    wait_s = _FIRST_AFTER_S
    while True:
        await asyncio.sleep(wait_s)
        wait_s = _EVERY_S
        try:
            done = await prune(snapshots, settings)
        except SnapshotError as error:
            log.warning("snapshots_not_pruned", reason=str(error))
            continue
        if done.deleted:
            log.info("snapshots_pruned", deleted=done.deleted, freed_bytes=done.freed_bytes, kept=done.kept)
