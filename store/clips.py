"""Sealed clips in a folder or a bucket: the map API stores what edge nodes send, and cannot open it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from functions.clip import ClipName, is_camera
from privacy.buckets import BucketError, Pruned, asking, open_bucket, prune, show

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_ANSWER_S = 4.0
_WHOLE_CLIP_S = 60.0


class ClipError(Exception):
    """Clips cannot be stored, listed or fetched now; the message says where and what to change. Safe to retry."""


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip in the store."""

    name: ClipName
    size: int
    """Bytes of the sealed file."""


class Clips:
    """The store of sealed clips, a folder for each camera."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a folder (created if missing, for its owner alone), or an address such as `s3://bucket/prefix`.

        Raises:
            ClipError: it cannot be used.
        """
        try:
            return cls(open_bucket(url, is_private=True), show(url))
        except BucketError as error:
            raise ClipError(f"BONGSU_CLIP_URL {error}") from None

    async def put(self, name: ClipName, sealed: bytes) -> None:
        """Store a clip; one of the same name is replaced.

        Raises:
            ClipError: it could not be stored.
        """
        async with self._asked(_WHOLE_CLIP_S, "check space and rights"):
            await self._store.put_async(name.path, sealed)

    async def get(self, name: ClipName) -> bytes | None:
        """A sealed clip; None if it was deleted.

        Raises:
            ClipError: it could not be fetched.
        """
        async with self._asked(_WHOLE_CLIP_S, "check rights"):
            try:
                found = await self._store.get_async(name.path)
                return bytes(await found.bytes_async())
            except FileNotFoundError:
                return None

    async def find(self, camera: str, since: datetime, until: datetime) -> list[StoredClip]:
        """The clips of a camera that show any moment of that time, oldest first.

        Raises:
            ClipError: they cannot be listed.
        """
        if not is_camera(camera):
            return []
        async with self._asked(_ANSWER_S, "check rights"):
            found = [StoredClip(name, size) async for name, size, _ in self._all(f"{camera}/")]
        return sorted((one for one in found if one.name.meets(since, until)), key=lambda one: one.name)

    async def prune(self, *, max_age: timedelta, max_bytes: int) -> Pruned:
        """Delete clips stored longer ago than `max_age`, then the oldest until the rest fit `max_bytes`.

        Other files stay.

        Raises:
            ClipError: they cannot be listed or deleted.
        """
        async with self._asked(None, "check rights"):
            found = [(at, size, name.path) async for name, size, at in self._all()]
            return await prune(self._store, found, max_age=max_age, max_bytes=max_bytes)

    def _asked(self, timeout_s: float | None, fix: str) -> AbstractAsyncContextManager[None]:
        return asking(f"clips in {self._name}", ClipError, timeout_s=timeout_s, fix=fix)

    async def _all(self, prefix: str = "") -> AsyncIterator[tuple[ClipName, int, datetime]]:
        async for batch in self._store.list(prefix or None):
            for one in batch:
                if (name := ClipName.parse(one["path"])) is not None:
                    yield name, one["size"], one["last_modified"]
