"""Opens the folder or bucket that pictures are stored in, and describes its errors without secrets.

The address of a bucket may hold a password or a signed query, and obstore repeats addresses in its errors, even in
those of a later read or write: callers must print `explain(error)`, never the error itself.
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
