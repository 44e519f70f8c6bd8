"""Storage of the public pictures, in a folder or a bucket, through obstore; accepts only `Redacted` and `Drawn`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from privacy.buckets import BucketError, Pruned, asking, open_bucket, prune, show
from privacy.drawn import Drawn, require_public
from privacy.redact import Redacted, read_back, require_redacted

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}\.jpg")
_KEPT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}(\.small)?\.jpg")
# A working bucket answers within a second. One that accepts requests and never answers would delay an alert for
# minutes: a poster has 20 s, and one channel may take 15 of them.
_ANSWER_S = 4.0
_SIZES_KEPT = 10_000
_ASKED_AT_ONCE = 16


class SnapshotError(Exception):
    """A picture cannot be stored or fetched now; the message says where and what to change. Safe to retry."""


class Snapshots:
    """The public snapshot store. A picture's key is the digest of its bytes, so storing it twice keeps one copy."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        # The picture of a key never changes, so neither does its size.
        self._sizes: dict[str, int] = {}

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a folder (created if missing), or an address such as `s3://bucket/prefix`.

        Raises:
            SnapshotError: it cannot be used.
        """
        try:
            return cls(open_bucket(url), show(url))
        except BucketError as error:
            raise SnapshotError(f"BONGSU_SNAPSHOT_URL {error}") from None

    async def put(self, picture: Redacted | Drawn, thumbnail: Redacted | None = None) -> str:
        """Store a picture and its thumbnail, and return its key.

        Raises:
            SnapshotError: it could not be stored.
            TypeError: it is neither `Redacted` nor `Drawn`.
        """
        require_public(picture)
        if thumbnail is not None:
            require_redacted(thumbnail)
        digest = hashlib.sha256(picture.jpeg).hexdigest()[:32]
        key = f"{digest[:2]}/{digest}.jpg"
        async with self._asked(_ANSWER_S, "check space and rights"):
            # The thumbnail first: once the key is known, both exist.
            if thumbnail is not None:
                await self._store.put_async(_small(key), thumbnail.jpeg)
            await self._store.put_async(key, picture.jpeg)
        return key

    async def get(self, key: str) -> Redacted | None:
        """The picture with that key; None if it was deleted.

        Raises:
            SnapshotError: it could not be fetched.
        """
        return await self._fetch(key) if _KEY.fullmatch(key) else None

    async def get_thumbnail(self, key: str) -> Redacted | None:
        """The thumbnail of that key, or the full picture where there is no thumbnail; None if both were deleted.

        Raises:
            SnapshotError: it could not be fetched.
        """
        if not _KEY.fullmatch(key):
            return None
        return await self._fetch(_small(key)) or await self._fetch(key)

    async def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Sizes of these pictures in bytes, without those that were deleted or whose size is not available now."""
        wanted = [key for key in dict.fromkeys(keys) if _KEY.fullmatch(key)]
        turn = asyncio.Semaphore(_ASKED_AT_ONCE)
        unknown = [key for key in wanted if key not in self._sizes]
        if len(self._sizes) > _SIZES_KEPT:
            self._sizes.clear()
        await asyncio.gather(*(self._measure(key, turn) for key in unknown))
        return {key: self._sizes[key] for key in wanted if key in self._sizes}

    async def _measure(self, key: str, turn: asyncio.Semaphore) -> None:
        from obstore.exceptions import BaseError

        # A feed is valid without sizes, so a request neither waits long for them nor fails without one.
        with contextlib.suppress(BaseError, OSError):
            async with turn, asyncio.timeout(_ANSWER_S):
                self._sizes[key] = (await self._store.head_async(key))["size"]

    async def prune(self, *, max_age: timedelta | None, max_bytes: int | None, is_rehearsal: bool = False) -> Pruned:
        """Delete pictures older than `max_age`, then the oldest until the rest fit `max_bytes`. Other files stay.

        Args:
            max_age: time since they were stored; None for no limit.
            max_bytes: total size; None for no limit.
            is_rehearsal: delete nothing, only report what would be deleted.

        Raises:
            SnapshotError: they cannot be listed or deleted now.
        """
        async with self._asked(None, "check rights"):
            found = [picture async for picture in self._pictures()]
            return await prune(self._store, found, max_age=max_age, max_bytes=max_bytes, is_rehearsal=is_rehearsal)

    async def _fetch(self, path: str) -> Redacted | None:
        async with self._asked(_ANSWER_S):
            try:
                found = await self._store.get_async(path)
                return read_back(bytes(await found.bytes_async()))
            except FileNotFoundError:
                return None

    def _asked(self, timeout_s: float | None, fix: str = "") -> AbstractAsyncContextManager[None]:
        return asking(f"snapshots in {self._name}", SnapshotError, timeout_s=timeout_s, fix=fix)

    async def _pictures(self) -> AsyncIterator[tuple[datetime, int, str]]:
        async for batch in self._store.list():
            for one in batch:
                if _KEPT.fullmatch(one["path"]):
                    yield one["last_modified"], one["size"], one["path"]


def _small(key: str) -> str:
    """Path of the thumbnail of a key."""
    return f"{key.removesuffix('.jpg')}.small.jpg"
