"""Opens where pictures are kept, a folder or a bucket, and tells what failed there without telling a secret.

The address of a bucket may hold a password or a signed query, and obstore repeats addresses in its errors, even those
of a later read or write: whoever uses what is opened here says `explain(error)`, never the error itself.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from functions.reasons import ADDRESS, one_line

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_HOST = re.compile(r"[\w.:-]{1,200}", re.ASCII)


class BucketError(Exception):
    """It cannot be opened; the message names the place without its secrets, and says why."""


def open_bucket(url: str, *, is_private: bool = False) -> ObjectStore:
    """Use a folder (made if missing), or an address such as `s3://bucket/prefix`.

    Args:
        url: a path, `file://` and a path, or an address.
        is_private: a folder that is made is for its owner alone.

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
        # Of an address nothing of obstore's own words: they may quote any part of it.
        reason = f": {explain(error)}" if folder is not None else " cannot be opened"
        raise BucketError(f"{show(url)}{reason}: give a folder or a bucket") from None


async def delete_all(store: ObjectStore, paths: Sequence[str]) -> None:
    """Delete so many, in one request where the bucket can; what another process has deleted meanwhile is no failure."""
    try:
        await store.delete_async(paths)
    except FileNotFoundError:
        # The store stops at what is missing: one by one, then.
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                await store.delete_async(path)


def folder_of(url: str) -> Path | None:
    """The folder that an address means; None where it is a bucket."""
    if url.startswith("file://"):
        return Path(unquote(url.removeprefix("file://"))).absolute()
    return None if "://" in url else Path(url).absolute()


def show(url: str) -> str:
    """An address as it may be shown: a folder whole, of all others kind and host."""
    if folder_of(url) is not None:
        return url
    kind, _, rest = url.partition("://")
    if "@" in rest.partition("?")[2] or "@" in rest.partition("#")[2]:
        # What stands before it may be part of a password, so nobody knows where that ends.
        return f"{kind}://…"
    host = re.split("[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return f"{kind}://{host}" if _HOST.fullmatch(host) else f"{kind}://…"


def explain(error: Exception) -> str:
    """What failed, on one line, each address in it cut down to its host."""
    # obstore appends all of its own state, after an empty line.
    said = str(error).partition("\n\n")[0]
    return one_line(ADDRESS.sub(lambda found: show(found[0]), said))
