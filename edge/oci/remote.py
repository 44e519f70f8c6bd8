"""Any registry over HTTP by the OCI distribution specification 1.1, with or without a pinned authority.

Written on aiohttp: the existing Python client (oras) is synchronous, keeps no upload offset and supports no Range, but
interrupted transfers must continue where they stopped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin

import aiohttp
import msgspec

from edge.errors import FleetError
from edge.oci.connection import Connection, RegistryLostError, read_limited
from edge.oci.connection import location as where_next
from edge.oci.manifest import INDEX_TYPE, MANIFEST_TYPE, Descriptor, check_digest, digest_of, is_digest
from edge.oci.registry import OnBytes
from edge.settings import Credentials

_T = TypeVar("_T")
_CHUNK_BYTES = 4 << 20
_READ_BYTES = 1 << 18
_ATTEMPTS = 4
_ACCEPT = {"Accept": f"{MANIFEST_TYPE}, {INDEX_TYPE}"}
_NEXT = re.compile(r'<([^>]+)>;\s*rel="?next"?')
_MAX_PAGES = 1000


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Catalog(msgspec.Struct):
    repositories: list[str] = []


class RemoteRegistry:
    """One registry and the prefix of our repositories in it."""

    def __init__(self, address: str, ca: Path | None = None, credentials: Credentials | None = None) -> None:
        """Prepare; arguments as for `Connection`."""
        self._connection = Connection(address, ca, credentials)
        self._send = self._connection.send
        self.address = self._connection.address
        self._base = f"{self._connection.root}/v2/{self._connection.prefix}"

    def blobs_url(self, name: str) -> str:
        """The address of a repository's blobs, without the digest; nodes pull from it."""
        return f"{self._base}{name}/blobs/"

    async def pull_authorization(self, name: str) -> str | None:
        """An `Authorization` header with which a node may read a repository; None if none is needed."""
        async with await self._send("GET", f"{self._base}{name}/tags/list", ok=(200, 404)):
            return self._connection.authorization(name)

    async def names(self) -> list[str]:
        found: list[str] = []
        async for page in self._pages(f"{self._connection.root}/v2/_catalog?n=100"):
            found += self._decode(page, _Catalog).repositories
        prefix = self._connection.prefix
        return sorted(n.removeprefix(prefix) for n in found if n.startswith(prefix))

    async def tags(self, name: str) -> list[str]:
        found: list[str] = []
        async for page in self._pages(f"{self._base}{name}/tags/list"):
            found += self._decode(page, _Tags).tags or []
        return sorted(found)

    async def resolve(self, name: str, reference: str) -> Descriptor | None:
        url = self._manifest(name, reference)
        async with await self._send("GET", url, ok=(200, 404), headers=_ACCEPT) as answer:
            if answer.status == 404:
                return None
            content = await read_limited(answer, self.address)
        return Descriptor(media_type=answer.content_type, digest=digest_of(content), size=len(content))

    async def read_manifest(self, name: str, reference: str) -> bytes:
        url = self._manifest(name, reference)
        async with await self._send("GET", url, ok=(200, 404), headers=_ACCEPT) as answer:
            if answer.status == 404:
                raise FleetError(f"no model {name}:{reference} in {self.address}: bongsu models list shows them")
            content = await read_limited(answer, self.address)
        if is_digest(reference) and digest_of(content) != reference:
            raise FleetError(f"{self.address} answered {reference} with other content ({digest_of(content)})")
        return content

    async def put_manifest(self, name: str, reference: str, content: bytes) -> str:
        headers = {"Content-Type": MANIFEST_TYPE}
        async with await self._send("PUT", self._manifest(name, reference), ok=(201,), data=content, headers=headers):
            return digest_of(content)

    async def has_blob(self, name: str, digest: str) -> bool:
        url = self.blobs_url(name) + check_digest(digest)
        async with await self._send("HEAD", url, ok=(200, 404)) as answer:
            return answer.status == 200

    async def put_blob(self, name: str, digest: str, source: Path | bytes, on_bytes: OnBytes | None = None) -> None:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if await self.has_blob(name, digest):
            if on_bytes is not None:
                on_bytes(size)
            return
        location, offset = await self._begin_upload(name), 0
        for attempt in range(_ATTEMPTS):
            try:
                location = await self._upload(location, source, offset, size, on_bytes)
                break
            except RegistryLostError as error:
                if attempt == _ATTEMPTS - 1:
                    raise FleetError(f"{self.address} interrupted an upload {_ATTEMPTS} times: {error}") from None
                await asyncio.sleep(0.5 * 2**attempt)
                location, offset = await self._uploaded(name, location)
        joint = "&" if "?" in location else "?"
        async with await self._send("PUT", f"{location}{joint}digest={digest}", ok=(201,)):
            return

    async def _begin_upload(self, name: str) -> str:
        async with await self._send("POST", self.blobs_url(name) + "uploads/", ok=(202,)) as answer:
            return where_next(answer)

    async def _upload(
        self, location: str, source: Path | bytes, offset: int, size: int, on_bytes: OnBytes | None
    ) -> str:
        """Send from `offset` on in chunks; returns the address at which the upload continues."""
        while offset < size:
            chunk = await asyncio.to_thread(_read_chunk, source, offset)
            if not chunk:
                raise FleetError(f"{source!r:.200} became shorter while it was pushed")
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{offset}-{offset + len(chunk) - 1}",
            }
            async with await self._send("PATCH", location, ok=(202,), data=chunk, headers=headers) as answer:
                location = where_next(answer)
            offset += len(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
        return location

    async def _uploaded(self, name: str, location: str) -> tuple[str, int]:
        """The address and offset at which an interrupted upload continues; the start if the registry dropped it."""
        async with await self._send("GET", location, ok=(204, 400, 404)) as answer:
            if answer.status == 204:
                last = answer.headers.get("Range", "").rpartition("-")[2]
                return where_next(answer), int(last) + 1 if last.isdecimal() and int(last) else 0
        return await self._begin_upload(name), 0

    async def read_blob(self, name: str, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        for attempt in range(_ATTEMPTS):
            try:
                async for chunk in self._read_blob(name, digest, offset):
                    offset += len(chunk)
                    yield chunk
                return
            except RegistryLostError as error:
                if attempt == _ATTEMPTS - 1:
                    raise FleetError(f"{error}; the same command continues from there") from None
                await asyncio.sleep(0.5 * 2**attempt)

    async def _read_blob(self, name: str, digest: str, offset: int) -> AsyncIterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        url = self.blobs_url(name) + check_digest(digest)
        async with await self._send("GET", url, ok=(200, 206), headers=headers) as answer:
            skip = offset if answer.status == 200 else 0
            try:
                async for chunk in answer.content.iter_chunked(_READ_BYTES):
                    kept = chunk[skip:]
                    skip = max(0, skip - len(chunk))
                    if kept:
                        yield kept
            except (aiohttp.ClientError, TimeoutError) as error:
                raise RegistryLostError(
                    f"{self.address} interrupted {digest[:19]}…: {error or 'no answer in time'}"
                ) from None

    async def delete_manifest(self, name: str, digest: str) -> None:
        async with await self._send("DELETE", self._manifest(name, digest), ok=(202, 404, 405)) as answer:
            if answer.status == 405:
                raise FleetError(
                    f"{self.address} does not allow deleting: set storage.delete.enabled in its config.yml"
                )

    async def collect_garbage(self) -> int | None:
        return None

    async def close(self) -> None:
        await self._connection.close()

    def _manifest(self, name: str, reference: str) -> str:
        return f"{self._base}{name}/manifests/{reference}"

    def _decode(self, content: bytes, type_: type[_T]) -> _T:
        try:
            return msgspec.json.decode(content, type=type_)
        except msgspec.MsgspecError as error:
            raise FleetError(f"{self.address} is not a registry: it answered {content[:60]!r} ({error})") from None

    async def _pages(self, first: str) -> AsyncIterator[bytes]:
        url: str | None = first
        for _ in range(_MAX_PAGES):
            if url is None:
                return
            async with await self._send("GET", url, ok=(200, 404)) as answer:
                if answer.status == 404:
                    return
                yield await read_limited(answer, self.address)
                following = _NEXT.search(answer.headers.get("Link", ""))
                url = urljoin(url, following[1]) if following else None


def _read_chunk(source: Path | bytes, offset: int) -> bytes:
    if isinstance(source, bytes):
        return source[offset : offset + _CHUNK_BYTES]
    with source.open("rb") as file:
        file.seek(offset)
        return file.read(_CHUNK_BYTES)
