"""Where the public pictures lie: a folder or a bucket, behind obstore; it takes and gives only `Redacted`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Self

from notify.redact import Redacted, read_back

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}\.jpg")


class SnapshotError(Exception):
    """A picture cannot be kept or fetched now; the message says where and what to change. Safe to retry."""


class Snapshots:
    """The public snapshot store. A picture's key is made from its bytes: kept twice, it is there once."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name

    @classmethod
    def open(cls, url: str) -> Self:
        """Use a folder (made if missing), or an address such as `s3://bucket/prefix`.

        Raises:
            SnapshotError: it cannot be used.
        """
        from obstore.exceptions import BaseError
        from obstore.store import LocalStore, from_url

        try:
            if "://" not in url:
                return cls(LocalStore(Path(url).absolute(), mkdir=True), url)
            # What follows "@" or "?" aside, an address may hold a secret: name only its kind.
            if url.startswith("file://"):
                Path(url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
            return cls(from_url(url), url.partition("://")[0])
        except (BaseError, OSError, ValueError) as error:
            shown = url if "://" not in url else f"{url.partition('://')[0]}://…"
            raise SnapshotError(
                f"BONGSU_SNAPSHOT_URL {shown}: {_one_line(error)}: give a folder or a bucket"
            ) from error

    async def put(self, picture: Redacted) -> str:
        """Keep a picture and return its key.

        Raises:
            SnapshotError: it could not be kept.
            TypeError: it is not `Redacted`.
        """
        from obstore.exceptions import BaseError

        if not isinstance(picture, Redacted):
            raise TypeError(f"only a Redacted picture may be kept for the public, got {type(picture).__name__}")
        digest = hashlib.sha256(picture.jpeg).hexdigest()[:32]
        key = f"{digest[:2]}/{digest}.jpg"
        try:
            await self._store.put_async(key, picture.jpeg)
        except (BaseError, OSError) as error:
            raise SnapshotError(f"snapshots in {self._name}: {_one_line(error)}: check space and rights") from error
        return key

    async def get(self, key: str) -> Redacted | None:
        """The picture of that key; None where it is gone.

        Raises:
            SnapshotError: it could not be fetched.
        """
        from obstore.exceptions import BaseError

        if not _KEY.fullmatch(key):
            return None
        try:
            found = await self._store.get_async(key)
            return read_back(bytes(await found.bytes_async()))
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise SnapshotError(f"snapshots in {self._name}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
