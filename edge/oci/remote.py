"""A registry over HTTP, by the OCI distribution specification 1.1: any of them, with a pinned authority or without.

Written on aiohttp: the Python client there is (oras) is synchronous, holds no upload's offset and takes no Range, and
interrupted transfers have to go on where they stopped.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import msgspec

from edge.errors import FleetError
from edge.oci.auth import answer_challenge
from edge.oci.manifest import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    MAX_MANIFEST_BYTES,
    Descriptor,
    check_digest,
    digest_of,
    is_digest,
)
from edge.oci.registry import OnBytes
from edge.settings import Credentials

_CHUNK_BYTES = 4 << 20
_READ_BYTES = 1 << 18
_ATTEMPTS = 4
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_read=60)
_NEXT = re.compile(r'<([^>]+)>;\s*rel="?next"?')
_MAX_PAGES = 1000


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Catalog(msgspec.Struct):
    repositories: list[str] = []


class _Lost(Exception):
    """The connection broke in the middle of an upload."""


class RemoteRegistry:
    """One registry and the prefix of our repositories in it."""

    def __init__(self, address: str, ca: Path | None = None, credentials: Credentials | None = None) -> None:
        """Name a registry; nothing is connected yet.

        Args:
            address: `https://host[:port][/prefix]`.
            ca: The one authority that is believed; None: those of the system.
            credentials: Who calls.

        Raises:
            FleetError: the authority's file is none, or a password would travel in the clear.
        """
        self.address = address.rstrip("/")
        scheme, _, rest = self.address.partition("://")
        host, _, prefix = rest.partition("/")
        if scheme == "http" and credentials is not None and not host.startswith(("127.0.0.1", "localhost", "[::1]")):
            raise FleetError(f"{address} would carry the password in the clear: use https://")
        self._root = f"{scheme}://{host}"
        self._prefix = f"{prefix}/" if prefix else ""
        self._credentials = credentials
        self._authorizations: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None
        try:
            self._tls = ssl.create_default_context(cafile=str(ca)) if ca is not None else ssl.create_default_context()
        except (ssl.SSLError, OSError) as error:
            raise FleetError(f"{ca} holds no certificate of an authority in PEM: {error}") from None

    def blobs_url(self, name: str) -> str:
        """Where the blobs of a repository are, without the digest; nodes pull from there."""
        return f"{self._root}/v2/{self._prefix}{name}/blobs/"

    async def pull_authorization(self, name: str) -> str | None:
        """A header `Authorization` with which a node may read a repository; None where none is asked for."""
        async with await self._send("GET", f"{self._root}/v2/{self._prefix}{name}/tags/list", ok=(200, 404)):
            return self._authorizations.get(name)

    async def names(self) -> list[str]:
        found: list[str] = []
        async for page in self._pages("/v2/_catalog?n=100"):
            found += msgspec.json.decode(page, type=_Catalog).repositories
        return sorted(n.removeprefix(self._prefix) for n in found if n.startswith(self._prefix))

    async def tags(self, name: str) -> list[str]:
        found: list[str] = []
        async for page in self._pages(f"/v2/{self._prefix}{name}/tags/list"):
            found += msgspec.json.decode(page, type=_Tags).tags or []
        return sorted(found)

    async def resolve(self, name: str, reference: str) -> Descriptor | None:
        async with await self._send("GET", self._manifest(name, reference), ok=(200, 404), headers=_accept()) as answer:
            if answer.status == 404:
                return None
            content = await _read_limited(answer, self.address)
        return Descriptor(media_type=answer.content_type, digest=digest_of(content), size=len(content))

    async def read_manifest(self, name: str, reference: str) -> bytes:
        async with await self._send("GET", self._manifest(name, reference), ok=(200, 404), headers=_accept()) as answer:
            if answer.status == 404:
                raise FleetError(f"no model {name}:{reference} in {self.address}: see bongsu models list")
            content = await _read_limited(answer, self.address)
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
        async with await self._send("POST", self.blobs_url(name) + "uploads/", ok=(202,)) as answer:
            location = urljoin(str(answer.url), answer.headers["Location"])
        offset = 0
        for attempt in range(_ATTEMPTS):
            try:
                location = await self._upload(location, source, offset, size, on_bytes)
                break
            except _Lost as error:
                if attempt == _ATTEMPTS - 1:
                    raise FleetError(f"{self.address} broke off an upload {_ATTEMPTS} times: {error}") from None
                await asyncio.sleep(0.5 * 2**attempt)
                location, offset = await self._uploaded(location)
        joint = "&" if "?" in location else "?"
        async with await self._send("PUT", f"{location}{joint}digest={digest}", ok=(201,)):
            return

    async def _upload(
        self, location: str, source: Path | bytes, offset: int, size: int, on_bytes: OnBytes | None
    ) -> str:
        """Send from `offset` on in chunks; where the last answer says that the upload goes on."""
        while offset < size:
            chunk = await asyncio.to_thread(_read_chunk, source, offset)
            if not chunk:
                raise FleetError(f"{source!r:.200} became shorter while it was pushed")
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{offset}-{offset + len(chunk) - 1}",
            }
            try:
                async with await self._send("PATCH", location, ok=(202,), data=chunk, headers=headers) as answer:
                    location = urljoin(str(answer.url), answer.headers["Location"])
            except aiohttp.ClientError as error:
                raise _Lost(str(error)) from error
            offset += len(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
        return location

    async def _uploaded(self, location: str) -> tuple[str, int]:
        """Where an upload that broke off goes on, and from which byte."""
        async with await self._send("GET", location, ok=(204,)) as answer:
            last = answer.headers.get("Range", "0-0").rpartition("-")[2]
            return urljoin(str(answer.url), answer.headers["Location"]), int(last) + 1 if int(last) else 0

    async def read_blob(self, name: str, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        url = self.blobs_url(name) + check_digest(digest)
        async with await self._send("GET", url, ok=(200, 206), headers=headers) as answer:
            skip = offset if answer.status == 200 else 0
            async for chunk in answer.content.iter_chunked(_READ_BYTES):
                kept = chunk[skip:]
                skip = max(0, skip - len(chunk))
                if kept:
                    yield kept

    async def delete_manifest(self, name: str, digest: str) -> None:
        async with await self._send("DELETE", self._manifest(name, digest), ok=(202, 404, 405)) as answer:
            if answer.status == 405:
                raise FleetError(
                    f"{self.address} does not allow deleting: set storage.delete.enabled in its config.yml"
                )

    async def collect_garbage(self) -> int | None:
        return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _manifest(self, name: str, reference: str) -> str:
        return f"{self._root}/v2/{self._prefix}{name}/manifests/{reference}"

    async def _pages(self, path: str) -> AsyncIterator[bytes]:
        url: str | None = self._root + path
        for _ in range(_MAX_PAGES):
            if url is None:
                return
            async with await self._send("GET", url, ok=(200, 404)) as answer:
                if answer.status == 404:
                    return
                yield await _read_limited(answer, self.address)
                following = _NEXT.search(answer.headers.get("Link", ""))
                url = urljoin(url, following[1]) if following else None

    async def _send(self, method: str, url: str, ok: tuple[int, ...], **request: Any) -> aiohttp.ClientResponse:
        """One request, signed in where the registry asks for it.

        Raises:
            FleetError: it cannot be reached, is not the one whose authority is pinned, or refuses.
        """
        if not url.startswith(f"{self._root}/"):
            raise FleetError(f"{self.address} sends us to another host, {url[:100]!r}: that is not followed")
        answer = await self._once(method, url, **request)
        if answer.status == 401:
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.release()
            authorization = await answer_challenge(self._open(), challenge, self._credentials, self._root)
            self._authorizations[self._repository(url)] = authorization
            answer = await self._once(method, url, **request)
        if answer.status not in ok:
            said = (await answer.content.read(400)).decode(errors="replace").strip()
            answer.release()
            if answer.status in (401, 403):
                raise FleetError(
                    f"{self.address} refuses this user (HTTP {answer.status}): check its name and password"
                )
            raise FleetError(f"{self.address} answered HTTP {answer.status} to {method}: {said or answer.reason}")
        return answer

    async def _once(self, method: str, url: str, **request: Any) -> aiohttp.ClientResponse:
        headers = dict(request.pop("headers", {}))
        if (authorization := self._authorizations.get(self._repository(url))) is not None:
            headers["Authorization"] = authorization
        try:
            return await self._open().request(method, url, headers=headers, ssl=self._tls, **request)
        except aiohttp.ClientConnectorCertificateError as error:
            reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            raise FleetError(
                f"{self.address} shows a certificate that is not believed ({reason}): name its authority in "
                "BONGSU_MODEL_REGISTRY_CA"
            ) from None
        except (aiohttp.ClientConnectorError, TimeoutError) as error:
            raise FleetError(f"{self.address} cannot be reached: {error or 'no answer in time'}") from None

    def _repository(self, url: str) -> str:
        path = url.removeprefix(f"{self._root}/v2/").removeprefix(self._prefix)
        return re.split(r"/(?:blobs|manifests|tags)/", path)[0]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False)
        return self._session


def _accept() -> dict[str, str]:
    return {"Accept": f"{MANIFEST_TYPE}, {INDEX_TYPE}"}


def _read_chunk(source: Path | bytes, offset: int) -> bytes:
    if isinstance(source, bytes):
        return source[offset : offset + _CHUNK_BYTES]
    with source.open("rb") as file:
        file.seek(offset)
        return file.read(_CHUNK_BYTES)


async def _read_limited(answer: aiohttp.ClientResponse, address: str) -> bytes:
    content = b""
    async for chunk in answer.content.iter_chunked(_READ_BYTES):
        content += chunk
        if len(content) > MAX_MANIFEST_BYTES:
            raise FleetError(f"{address} answered with more than {MAX_MANIFEST_BYTES} bytes where JSON was asked for")
    return content
