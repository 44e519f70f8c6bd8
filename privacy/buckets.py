"""Opens the folder or bucket that pictures are stored in, and describes its errors without secrets.

The address of a bucket may hold a password or a signed query, and obstore repeats addresses in its errors, even in
those of a later read or write: callers must print `explain(error)`, never the error itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from functions.event import utc_now
from functions.reasons import ADDRESS, one_line

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_DELETED_AT_ONCE = 500
_HOST = re.compile(r"[\w.:-]{1,200}", re.ASCII)


class BucketError(Exception):
    """It cannot be opened; the message names the place without its secrets, and says why."""


def open_bucket(url: str, *, is_private: bool = False) -> ObjectStore:
    """Open a folder (created if missing), or an address such as `s3://bucket/prefix`.

    Args:
        url: a path, `file://` and a path, or an address.
        is_private: create a missing folder with rights for its owner only.

    Raises:
        BucketError: it cannot be used.
    """
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore, from_url

    folder = folder_of(url)
    try:
        if folder is None:
            return from_url(url)
        folder.mkdir(mode=0o700 if is_private else 0o777, parents=True, exist_ok=True)
        return LocalStore(folder)
    except (BaseError, OSError, ValueError) as error:
        # For an address, leave out obstore's message: it may quote any part of the address.
        reason = f": {explain(error)}" if folder is not None else " cannot be opened"
        raise BucketError(f"{show(url)}{reason}: give a folder or a bucket") from None


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many files were deleted and how many are left."""

    deleted: int
    freed_bytes: int
    kept: int
    kept_bytes: int


@contextlib.asynccontextmanager
async def asking(
    what: str, failure: Callable[[str], Exception], *, timeout_s: float | None, fix: str = ""
) -> AsyncIterator[None]:
    """Turn what goes wrong with a folder or a bucket, and its silence, into an error of the caller's.

    Args:
        what: what is stored, and where, without secrets.
        failure: makes the error of a message.
        timeout_s: how long an answer may take; None: as long as it takes.
        fix: what to check, if something is known.
    """
    from obstore.exceptions import BaseError

    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (BaseError, OSError) as error:
        if isinstance(error, TimeoutError) and timeout_s is not None:
            raise failure(f"{what}: no answer within {timeout_s:g} s: check the network and the address") from None
        raise failure(": ".join(filter(None, (what, explain(error), fix)))) from None


async def prune(
    store: ObjectStore,
    files: Iterable[tuple[datetime, int, str]],
    *,
    max_age: timedelta | None,
    max_bytes: int | None,
    is_rehearsal: bool = False,
) -> Pruned:
    """Delete files older than `max_age`, then the oldest until the rest fit `max_bytes`.

    Args:
        store: where they are.
        files: of each when it was stored, its bytes and its path.
        max_age: time since they were stored; None for no limit.
        max_bytes: total size; None for no limit.
        is_rehearsal: delete nothing, only report what would be deleted.
    """
    found = sorted(files, reverse=True)
    since = utc_now() - max_age if max_age is not None else None
    kept = kept_bytes = 0
    for at, size, _ in found:
        # They are sorted newest first, so all that follow one that goes, go too.
        if (since is not None and at < since) or (max_bytes is not None and kept_bytes + size > max_bytes):
            break
        kept, kept_bytes = kept + 1, kept_bytes + size
    surplus = found[kept:]
    if not is_rehearsal:
        for start in range(0, len(surplus), _DELETED_AT_ONCE):
            await delete_all(store, [path for _, _, path in surplus[start : start + _DELETED_AT_ONCE]])
    return Pruned(len(surplus), sum(size for _, size, _ in surplus), kept, kept_bytes)


async def delete_all(store: ObjectStore, paths: Sequence[str]) -> None:
    """Delete these, in one request where the bucket can. A path that another process deleted first is not an error."""
    try:
        await store.delete_async(paths)
    except FileNotFoundError:
        # The store stops at a missing path, so delete them one by one.
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                await store.delete_async(path)


def folder_of(url: str) -> Path | None:
    """The folder that an address names; None for a bucket."""
    if url.startswith("file://"):
        return Path(unquote(url.removeprefix("file://"))).absolute()
    return None if "://" in url else Path(url).absolute()


def is_within(one: str, other: str) -> bool:
    """Whether one of two addresses contains the other."""
    first, second = folder_of(one), folder_of(other)
    if first is None or second is None:
        return one.rstrip("/").startswith(other.rstrip("/")) or other.rstrip("/").startswith(one.rstrip("/"))
    return first.resolve().is_relative_to(second.resolve()) or second.resolve().is_relative_to(first.resolve())


def show(url: str) -> str:
    """An address without secrets: the full path of a folder, else only scheme and host."""
    if folder_of(url) is not None:
        return url
    kind, _, rest = url.partition("://")
    if "@" in rest.partition("?")[2] or "@" in rest.partition("#")[2]:
        # The text before it may be part of a password, whose end cannot be known.
        return f"{kind}://…"
    host = re.split("[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return f"{kind}://{host}" if _HOST.fullmatch(host) else f"{kind}://…"


def explain(error: Exception) -> str:
    """An error in one line, with each address in it reduced to its host."""
    # obstore appends its whole state after an empty line.
    text = str(error).partition("\n\n")[0]
    return one_line(ADDRESS.sub(lambda found: show(found[0]), text))
