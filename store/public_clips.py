"""Mosaicked clips for the public, in a folder or a bucket: `notify/clips.py` writes them, the API hands them out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

from functions.clip import ClipName
from privacy.buckets import Pruned
from privacy.video import RedactedVideo, read_back_video, require_redacted_video
from store.clips import Clips, StoredClip

SUFFIX = ".mp4"


class PublicClips:
    """A store that holds nothing but redacted videos. Its methods raise ClipError as those of `Clips`."""

    def __init__(self, clips: Clips) -> None:
        self._clips = clips

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a folder (created if missing, for its owner alone), or an address such as `s3://bucket/prefix`.

        Raises:
            ClipError: it cannot be used.
        """
        return cls(Clips.open(url, variable="BONGSU_PUBLIC_CLIP_URL", suffix=SUFFIX))

    async def put(self, name: ClipName, video: RedactedVideo) -> None:
        """Store a clip; one of the same name is replaced.

        Raises:
            TypeError: it is not redacted.
        """
        require_redacted_video(video)
        await self._clips.put(name, video.mp4)

    async def get(self, name: ClipName) -> RedactedVideo | None:
        """A clip; None if it was deleted."""
        mp4 = await self._clips.get(name)
        return None if mp4 is None else read_back_video(mp4)

    async def find(self, camera: str, since: datetime, until: datetime) -> list[StoredClip]:
        """The clips of a camera that show any moment of that time, oldest first."""
        return await self._clips.find(camera, since, until)

    async def all(self) -> list[StoredClip]:
        """All clips, oldest first."""
        return await self._clips.all()

    async def remove(self, names: Sequence[ClipName]) -> None:
        """Delete clips."""
        await self._clips.remove(names)

    async def prune(self, *, max_age: timedelta, max_bytes: int) -> Pruned:
        """Delete clips made longer ago than `max_age`, then the oldest until the rest fit `max_bytes`."""
        return await self._clips.prune(max_age=max_age, max_bytes=max_bytes)
