"""The clips of an edge worker: where finished ones go, from the cameras' threads to the folder and the map API."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import Self

import structlog

from motion.clip import CLIPS, Clip, ClipLimits
from motion.clip_folder import ClipFolder
from motion.clip_sender import ClipSender
from motion.settings import ClipSettings

log = structlog.get_logger()

_WAITING_MAX_BYTES = 128_000_000
"""A disk that is slower than the cameras must not fill the memory."""


class Clips:
    """Seals and stores clips in a thread of their own, and sends those of incidents."""

    def __init__(self, limits: ClipLimits, folder: ClipFolder, sender: ClipSender | None) -> None:
        """Store into this folder; without a sender they stay there."""
        self.limits = limits
        self._folder = folder
        self._sender = sender
        self._waiting: deque[Clip] = deque()
        self._wake = asyncio.Event()

    @classmethod
    def open(cls, settings: ClipSettings | None) -> Self | None:
        """The clips that the settings ask for; None without settings.

        Raises:
            SettingsError: the folder cannot be used.
        """
        if settings is None:
            return None
        max_age = timedelta(hours=settings.clip_dir_hours)
        camera_bytes = int(settings.clip_camera_mb * 1e6)
        folder = ClipFolder(Path(settings.clip_dir), settings.public_keys, camera_bytes=camera_bytes, max_age=max_age)
        key = settings.clip_api_key.reveal()
        sender = ClipSender(folder, settings.clip_api, key, max_age) if settings.clip_api else None
        return cls(settings.limits, folder, sender)

    def put(self, clip: Clip) -> None:
        """Queue a finished clip; call it in the event loop."""
        if sum(len(one.mp4) for one in self._waiting) + len(clip.mp4) > _WAITING_MAX_BYTES:
            CLIPS.labels(clip.name.camera, "failed").inc()
            log.error("clip_not_kept", camera=clip.name.camera, reason="the disk is too slow: too many clips wait")
            return
        self._waiting.append(clip)
        self._wake.set()

    async def run(self) -> None:
        """Store and send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store())
            if self._sender is not None:
                group.create_task(self._sender.run())

    async def close(self, timeout_s: float) -> None:
        """Store what waits, because this process ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._store_waiting()

    async def _store(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._store_waiting()

    async def _store_waiting(self) -> None:
        while self._waiting:
            await asyncio.to_thread(self._folder.put, self._waiting.popleft())
