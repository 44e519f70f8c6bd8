"""Clips in a folder or a bucket: the map API stores the sealed ones that edge nodes send, and cannot open them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from functions.clip import SUFFIX, ClipName, is_camera
from privacy.buckets import BucketError, Pruned, asking, delete_all, open_bucket, prune, show
from store.incidents import Incidents
from store.queries import Wanted

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MARGIN = timedelta(seconds=10)
"""A clip this long before an incident shows what led to it."""
_PAGE = 200
_ANSWER_S = 4.0
_WHOLE_CLIP_S = 60.0


class ClipError(Exception):
    """Clips cannot be stored, listed or fetched now; the message says where and what to change. Safe to retry."""


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip in the store."""

    name: ClipName
    size: int
    """Bytes of its file."""


class Clips:
    """A store of clips, a folder for each camera: of sealed ones, and beneath `PublicClips` of those for the public."""

    def __init__(self, store: ObjectStore, name: str, suffix: str = SUFFIX) -> None:
        """Use this store, whose files end with `suffix`."""
        self._store = store
        self._name = name
        self._suffix = suffix

    @classmethod
    def open(cls, url: str, *, variable: str = "BONGSU_CLIP_URL", suffix: str = SUFFIX) -> Self:
        """Open a folder (created if missing, for its owner alone), or an address such as `s3://bucket/prefix`.

        Raises:
            ClipError: it cannot be used.
        """
        try:
            return cls(open_bucket(url, is_private=True), show(url), suffix)
        except BucketError as error:
            raise ClipError(f"{variable} {error}") from None

    async def put(self, name: ClipName, sealed: bytes) -> None:
        """Store a clip; one of the same name is replaced.

        Raises:
            ClipError: it could not be stored.
        """
        async with self._asked(_WHOLE_CLIP_S, "check space and rights"):
            await self._store.put_async(self._path(name), sealed)

    async def get(self, name: ClipName) -> bytes | None:
        """A sealed clip; None if it was deleted.

        Raises:
            ClipError: it could not be fetched.
        """
        async with self._asked(_WHOLE_CLIP_S, "check rights"):
            try:
                found = await self._store.get_async(self._path(name))
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
            found = [(at, size, self._path(name)) async for name, size, at in self._all()]
            return await prune(self._store, found, max_age=max_age, max_bytes=max_bytes)

    async def all(self) -> list[StoredClip]:
        """All clips, oldest first.

        Raises:
            ClipError: they cannot be listed.
        """
        async with self._asked(_WHOLE_CLIP_S, "check rights"):
            return sorted([StoredClip(name, size) async for name, size, _ in self._all()], key=lambda one: one.name)

    async def remove(self, names: Sequence[ClipName]) -> None:
        """Delete clips; one that is gone already is not an error.

        Raises:
            ClipError: they cannot be deleted.
        """
        async with self._asked(_WHOLE_CLIP_S, "check rights"):
            await delete_all(self._store, [self._path(name) for name in names])

    def _path(self, name: ClipName) -> str:
        return name.path.removesuffix(SUFFIX) + self._suffix

    def _asked(self, timeout_s: float | None, fix: str) -> AbstractAsyncContextManager[None]:
        return asking(f"clips in {self._name}", ClipError, timeout_s=timeout_s, fix=fix)

    async def _all(self, prefix: str = "") -> AsyncIterator[tuple[ClipName, int, datetime]]:
        async for batch in self._store.list(prefix or None):
            for one in batch:
                path: str = one["path"]
                if not path.endswith(self._suffix):
                    continue
                if (name := ClipName.parse(path.removesuffix(self._suffix) + SUFFIX)) is not None:
                    yield name, one["size"], one["last_modified"]


async def is_public(incidents: Incidents, name: ClipName) -> bool:
    """Whether a clip shows an incident that everybody may see: no false alarm, and none that is held back.

    Raises:
        StoreError: the database is not available.
    """
    wanted = Wanted(camera=name.camera, since=name.start, limit=_PAGE)
    while True:
        found = await incidents.find(wanted)
        if any(one.is_public and name.meets(one.first_seen - MARGIN, one.last_seen) for one in found.items):
            return True
        if found.next is None:
            return False
        wanted = replace(wanted, after=found.next)
