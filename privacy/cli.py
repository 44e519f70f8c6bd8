"""`bongsu originals`: creates keys, decrypts sealed originals with the private key, deletes expired ones."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from functions.clip import MAGIC, SHARED_MAGIC, unseal_clip
from functions.sealing import PRIVATE, PUBLIC, SealError, read_key, write_key
from functions.settings import SettingsError
from privacy.originals import (
    SUFFIX,
    OriginalsError,
    import_nacl,
    load,
    open_store,
    prune,
    unseal,
)

_P = ParamSpec("_P")


def _in_one_line(call: Callable[_P, int]) -> Callable[_P, int]:
    """Print an error that the user can fix as one line on stderr."""

    @functools.wraps(call)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> int:
        try:
            return call(*args, **kwargs)
        except (SettingsError, OriginalsError, OSError) as error:
            print(f"bongsu originals: {error}", file=sys.stderr)
            return 1

    return called


@click.group()
def originals() -> None:
    """Make keys for sealed frames and clips, open or delete them.

    See docs/privacy.md.
    """


@originals.command("keygen")
@click.argument("private", type=click.Path(path_type=Path))
@_in_one_line
def _keygen(private: Path) -> int:
    """Create a key pair, on a machine that runs no part of Bongsu; PRIVATE is a new file for the private key."""
    key = import_nacl().PrivateKey.generate()
    # O_EXCL: overwriting a key would make everything sealed for it unreadable.
    with open(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(write_key(bytes(key), PRIVATE) + "\n")
    print(f"BONGSU_ORIGINALS_KEY={write_key(bytes(key.public_key), PUBLIC)}")
    print(
        f"The private key is in {private}: keep it off every worker, and keep a backup copy elsewhere.", file=sys.stderr
    )
    return 0


@originals.command("decrypt")
@click.option("--key", type=click.Path(path_type=Path), required=True, help="The file of the private key.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("originals"),
    show_default=True,
    help="A folder for the pictures and videos.",
)
@click.argument("given", metavar="SEALED...", type=click.Path(path_type=Path), nargs=-1, required=True)
@_in_one_line
def _decrypt(key: Path, out: Path, given: tuple[Path, ...]) -> int:
    """Decrypt sealed files, or all in a folder."""
    private_key = read_key(key.read_text(encoding="ascii", errors="replace"), PRIVATE)
    paths = [path for one in given for path in (sorted(one.rglob(f"*{SUFFIX}")) if one.is_dir() else [one])]
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    failed = 0
    for path in paths:
        try:
            name, content, what = _opened(path, private_key)
        except (OriginalsError, SealError, OSError) as error:
            print(f"bongsu originals: {path}: {error}", file=sys.stderr)
            failed += 1
            continue
        file_path = out / name
        with open(os.open(file_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
            file.write(content)
        print(f"{file_path}: {what}")
    if not paths:
        print(f"bongsu originals: no file that ends with {SUFFIX} in {', '.join(map(str, given))}", file=sys.stderr)
    return 1 if failed or not paths else 0


def _opened(path: Path, private_key: bytes) -> tuple[str, bytes, str]:
    """Of a sealed file: the name for its content, the content, and a line about it."""
    sealed = path.read_bytes()
    if sealed.startswith((MAGIC, SHARED_MAGIC)):
        clip, mp4 = unseal_clip(sealed, private_key)
        seconds = (clip.end - clip.start).total_seconds()
        name = f"{clip.camera}-{clip.file.removesuffix(SUFFIX)}.mp4"
        return name, mp4, f"{seconds:.1f} s of {clip.camera}, from {clip.start.isoformat()}"
    original = unseal(sealed, private_key)
    what = f"{original.hazard} at {original.camera}, {original.captured_at.isoformat()}"
    return f"{path.name.removesuffix(SUFFIX)}.jpg", original.jpeg, what


@originals.command("prune")
@_in_one_line
def _prune() -> int:
    """Delete originals older than BONGSU_ORIGINALS_KEEP_DAYS, for a daily job."""
    settings = load()
    if not settings.originals_url:
        raise SettingsError("BONGSU_ORIGINALS_URL is not set: there is nothing to prune")
    deleted = asyncio.run(prune(open_store(settings.originals_url), settings.originals_keep_days))
    print(f"deleted {deleted} originals older than {settings.originals_keep_days:g} days")
    return 0
