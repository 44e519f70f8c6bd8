"""Transfers the blobs of a version to this node: from the registry, or over the SSH connection."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from edge.node.gateway import own_authorization
from edge.node.messages import CHUNK_BYTES, DIGEST, HOME, Progress, Refused, checked, send

BLOBS = HOME / "blobs/sha256"
_SPARE_BYTES = 16 << 20
_HTTP_TIMEOUT_S = 30
_HTTP_ATTEMPTS = 4


def fetch_all(layers: list[dict[str, Any]], source: dict[str, Any] | None) -> int:
    """Fetch every blob that is missing here, or does not match its digest.

    Args:
        layers: OCI descriptors.
        source: `url`, `authorization` and `ca` of the registry; None: the blobs come over stdin.

    Returns:
        The number of transferred bytes.
    """
    BLOBS.mkdir(parents=True, exist_ok=True)
    total = sum(int(layer["size"]) for layer in layers)
    missing = [layer for layer in layers if not _is_here(checked(layer["digest"], DIGEST))]
    needed = sum(int(layer["size"]) - _part_size(layer) for layer in missing)
    free = shutil.disk_usage(BLOBS).free
    if needed + _SPARE_BYTES > free:
        raise Refused(
            f"disk full: {needed / 1e6:.1f} MB and {_SPARE_BYTES / 1e6:.0f} MB to spare are needed in {HOME}, "
            f"{free / 1e6:.1f} MB are free"
        )
    progress = Progress(total, total - needed)
    for layer in missing:
        _fetch(layer, source, progress)
    progress.report()
    return needed


def hash_file(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hashed.update(chunk)
    return hashed.hexdigest()


def _is_here(digest: str) -> bool:
    blob = BLOBS / digest[7:]
    if not blob.is_file():
        return False
    if hash_file(blob) == digest[7:]:
        return True
    blob.unlink()  # altered: links elsewhere keep the altered bytes, and their version is assembled again
    return False


def _fetch(layer: dict[str, Any], source: dict[str, Any] | None, progress: Progress) -> None:
    digest, size = layer["digest"], int(layer["size"])
    part = BLOBS / f"{digest[7:]}.part"
    hashed = hashlib.sha256()
    with part.open("ab+") as file:
        if file.tell() > size:
            file.truncate(0)
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            hashed.update(chunk)

        def take(chunk: bytes) -> None:
            file.write(chunk)
            hashed.update(chunk)
            progress.add(len(chunk))

        if source is None:
            _take_from_stdin(digest, file.tell(), size, take)
        else:
            _take_from_registry(source, digest, file, size, take)
        file.flush()
        os.fsync(file.fileno())
    if hashed.hexdigest() != digest[7:]:
        part.unlink()
        name = layer["annotations"]["org.cncf.model.filepath"]
        raise Refused(f"{name} is not {digest[:19]}…: it was altered in transfer or in the registry")
    part.chmod(0o400)
    part.replace(BLOBS / digest[7:])


def _take_from_stdin(digest: str, offset: int, size: int, take: Callable[[bytes], None]) -> None:
    if offset == size:
        return
    send({"kind": "need", "digest": digest, "offset": offset})
    remaining = size - offset
    while remaining:
        chunk = sys.stdin.buffer.read(min(CHUNK_BYTES, remaining))
        if not chunk:
            raise Refused("the transfer was interrupted: the same command continues from here")
        take(chunk)
        remaining -= len(chunk)


def _take_from_registry(
    source: dict[str, Any], digest: str, file: BinaryIO, size: int, take: Callable[[bytes], None]
) -> None:
    for attempt in range(_HTTP_ATTEMPTS):
        if file.tell() >= size:
            return
        try:
            _read_http(source, digest, file.tell(), size, take)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise Refused(_explain(error, source, digest)) from None
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise Refused(f"the registry's certificate is not trusted here: {reason.verify_message}") from None
            if attempt == _HTTP_ATTEMPTS - 1:
                address = source["url"].split("/v2/")[0]
                raise Refused(f"the registry {address} cannot be reached from here: {reason}") from None
            time.sleep(0.5 * 2**attempt)
    if file.tell() < size:
        raise Refused("the registry interrupted every transfer: the same command continues from here")


def _explain(error: urllib.error.HTTPError, source: dict[str, Any], digest: str) -> str:
    if source.get("is_gateway") and error.code in (401, 403):
        return f"the gateway does not accept this node's token (HTTP {error.code}): bongsu nodes token NAME"
    return f"the registry answered HTTP {error.code} for {digest[:19]}…"


def _read_http(source: dict[str, Any], digest: str, offset: int, size: int, take: Callable[[bytes], None]) -> None:
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if source.get("is_gateway"):
        headers["Authorization"] = own_authorization(source["url"])
    elif source.get("authorization"):
        headers["Authorization"] = source["authorization"]
    request = urllib.request.Request(source["url"] + digest, headers=headers)
    context = ssl.create_default_context(cadata=source.get("ca"))
    with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_S, context=context) as answer:
        skip = offset if answer.status == 200 else 0
        remaining = size - offset
        while remaining and (chunk := answer.read(CHUNK_BYTES)):
            kept = chunk[skip:][:remaining]
            skip = max(0, skip - len(chunk))
            if kept:
                take(kept)
                remaining -= len(kept)


def _part_size(layer: dict[str, Any]) -> int:
    part = BLOBS / f"{layer['digest'][7:]}.part"
    size = part.stat().st_size if part.is_file() else 0
    return size if size <= int(layer["size"]) else 0
