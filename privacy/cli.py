"""`bongsu originals`: makes the keys, opens sealed originals where the private key is, deletes what has expired."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from functions.settings import SettingsError
from privacy.originals import (
    PRIVATE,
    PUBLIC,
    SUFFIX,
    OriginalsError,
    import_nacl,
    load,
    open_store,
    prune,
    read_key,
    unseal,
    write_key,
)


def originals(arguments: list[str]) -> int:
    """Run one of its commands; the exit status."""
    parser = argparse.ArgumentParser(
        prog="bongsu originals", description="Unredacted frames, sealed; see docs/privacy.md."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    keygen = commands.add_parser("keygen", help="make a pair of keys, on a machine that runs no part of Bongsu")
    keygen.add_argument("private", type=Path, help="a new file for the private key")
    decrypt = commands.add_parser("decrypt", help="open sealed files")
    decrypt.add_argument("--key", type=Path, required=True, help="the file of the private key")
    decrypt.add_argument("--out", type=Path, default=Path("originals"), help="a folder for the pictures (originals)")
    decrypt.add_argument("sealed", type=Path, nargs="+", help=f"files that end with {SUFFIX}, or folders of them")
    commands.add_parser("prune", help="delete what is older than BONGSU_ORIGINALS_KEEP_DAYS, for a daily job")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "keygen":
            return _keygen(chosen.private)
        if chosen.command == "decrypt":
            return _decrypt(chosen.key, chosen.sealed, chosen.out)
        return _prune()
    except (SettingsError, OriginalsError, OSError) as error:
        print(f"bongsu originals: {error}", file=sys.stderr)
        return 1


def _keygen(private: Path) -> int:
    key = import_nacl().PrivateKey.generate()
    # "x": a key that is overwritten takes all that was sealed for it along.
    with open(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(write_key(bytes(key), PRIVATE) + "\n")
    print(f"BONGSU_ORIGINALS_KEY={write_key(bytes(key.public_key), PUBLIC)}")
    print(
        f"The private key is in {private}: keep it off every worker, and a copy where it cannot burn.", file=sys.stderr
    )
    return 0


def _decrypt(key: Path, given: list[Path], out: Path) -> int:
    private_key = read_key(key.read_text(encoding="ascii", errors="replace"), PRIVATE)
    paths = [path for one in given for path in (sorted(one.rglob(f"*{SUFFIX}")) if one.is_dir() else [one])]
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    failed = 0
    for path in paths:
        try:
            original = unseal(path.read_bytes(), private_key)
        except (OriginalsError, OSError) as error:
            print(f"bongsu originals: {path}: {error}", file=sys.stderr)
            failed += 1
            continue
        picture = out / f"{path.name.removesuffix(SUFFIX)}.jpg"
        with open(os.open(picture, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
            file.write(original.jpeg)
        print(f"{picture}: {original.hazard} at {original.camera}, {original.captured_at.isoformat()}")
    if not paths:
        print(f"bongsu originals: no file that ends with {SUFFIX} in {', '.join(map(str, given))}", file=sys.stderr)
    return 1 if failed or not paths else 0


def _prune() -> int:
    settings = load()
    if not settings.originals_url:
        raise SettingsError("BONGSU_ORIGINALS_URL is not set: there is nothing to prune")
    deleted = asyncio.run(prune(open_store(settings.originals_url), settings.originals_keep_days))
    print(f"deleted {deleted} originals older than {settings.originals_keep_days:g} days")
    return 0
