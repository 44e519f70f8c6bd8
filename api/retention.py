"""Deletes old pictures and clips: the API does so every hour, `bongsu snapshots prune` at once for pictures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import structlog

from api.settings import Settings
from privacy.buckets import Pruned
from store.clips import ClipError, Clips
from store.public_clips import PublicClips
from store.snapshots import SnapshotError, Snapshots
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


@contextlib.asynccontextmanager
async def pruning(
    snapshots: Snapshots, settings: Settings, clips: Clips | None = None, public_clips: PublicClips | None = None
) -> AsyncIterator[None]:
    """Prune every hour while this context is open; several processes may do so at once."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.snapshot_keep_days or settings.snapshot_keep_gb:
            work = _prune_repeatedly("snapshots", lambda: prune(snapshots, settings))
            await stack.enter_async_context(in_background("pruning", work))
        if clips is not None:
            work = _prune_repeatedly("clips", lambda: prune_clips(clips, settings))
            await stack.enter_async_context(in_background("pruning clips", work))
        if public_clips is not None:
            work = _prune_repeatedly("public_clips", lambda: prune_public_clips(public_clips, settings))
            await stack.enter_async_context(in_background("pruning public clips", work))
        yield


async def prune_clips(clips: Clips, settings: Settings) -> Pruned:
    """Delete clips beyond the limits of the settings.

    Raises:
        ClipError: they cannot be listed or deleted now.
    """
    max_age = timedelta(days=settings.clip_keep_days)
    return await clips.prune(max_age=max_age, max_bytes=int(settings.clip_keep_gb * _GB))


async def prune_public_clips(clips: PublicClips, settings: Settings) -> Pruned:
    """Delete public clips beyond the limits of the settings.

    Raises:
        ClipError: they cannot be listed or deleted now.
    """
    max_age = timedelta(days=settings.public_clip_keep_days)
    return await clips.prune(max_age=max_age, max_bytes=int(settings.public_clip_keep_gb * _GB))


async def _prune_repeatedly(what: str, delete: Callable[[], Awaitable[Pruned]]) -> None:
    wait_s = _FIRST_AFTER_S
    while True:
        await asyncio.sleep(wait_s)
        wait_s = _EVERY_S
        try:
            done = await delete()
        except (SnapshotError, ClipError) as error:
            log.warning(f"{what}_not_pruned", reason=str(error))
            continue
        if done.deleted:
            log.info(f"{what}_pruned", deleted=done.deleted, freed_bytes=done.freed_bytes, kept=done.kept)
