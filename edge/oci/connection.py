"""The connection to one registry: its pinned authority, signing in, and errors in one line; its client sends by it."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp

from edge.errors import FleetError
from edge.oci.auth import answer_challenge
from edge.oci.manifest import MAX_MANIFEST_BYTES
from edge.settings import Credentials

_READ_BYTES = 1 << 18
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_read=60)


class RegistryLostError(FleetError):
    """The connection broke, or there was none; it is worth another try."""


class Connection:
    """HTTP to one registry.

    Attributes:
        address: as it was named.
        root: scheme and host.
        prefix: what stands before the name of each of our repositories, with a slash; often empty.
    """

    def __init__(self, address: str, ca: Path | None, credentials: Credentials | None) -> None:
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
        self.root = f"{scheme}://{host}"
        self.prefix = f"{prefix}/" if prefix else ""
        self._credentials = credentials
        self._authorizations: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None
        try:
            self._tls = ssl.create_default_context(cafile=str(ca)) if ca is not None else ssl.create_default_context()
        except (ssl.SSLError, OSError) as error:
            raise FleetError(f"{ca} holds no certificate of an authority in PEM: {error}") from None

    def authorization(self, name: str) -> str | None:
        """The header `Authorization` that a repository was last opened with; None where none was asked for."""
        return self._authorizations.get(name)

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, method: str, url: str, ok: tuple[int, ...], **request: Any) -> aiohttp.ClientResponse:
        """One request, signed in where the registry asks for it.

        Raises:
            FleetError: it cannot be reached, is not the one whose authority is pinned, or refuses.
        """
        if not url.startswith(f"{self.root}/"):
            raise FleetError(f"{self.address} sends us to another host, {url[:100]!r}: that is not followed")
        answer = await self._once(method, url, **request)
        if answer.status == 401:
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.release()
            authorization = await answer_challenge(self._open(), self._tls, challenge, self._credentials, self.root)
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
            raise RegistryLostError(f"{self.address} cannot be reached: {error or 'no answer in time'}") from None
        except aiohttp.ClientError as error:
            raise RegistryLostError(f"{self.address} broke off: {error or type(error).__name__}") from None

    def _repository(self, url: str) -> str:
        path = url.removeprefix(f"{self.root}/v2/").removeprefix(self.prefix)
        return re.split(r"/(?:blobs|manifests|tags)/", path)[0]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False)
        return self._session


def location(answer: aiohttp.ClientResponse) -> str:
    """Where an upload goes on.

    Raises:
        FleetError: the registry does not say.
    """
    if "Location" not in answer.headers:
        raise FleetError(f"{answer.url.host} answered an upload without saying where it goes on")
    return urljoin(str(answer.url), answer.headers["Location"])


async def read_limited(answer: aiohttp.ClientResponse, address: str) -> bytes:
    """The body of an answer that is JSON.

    Raises:
        FleetError: it is larger than a manifest may be, or the connection broke.
    """
    content = b""
    try:
        async for chunk in answer.content.iter_chunked(_READ_BYTES):
            content += chunk
            if len(content) > MAX_MANIFEST_BYTES:
                raise FleetError(f"{address} answered with over {MAX_MANIFEST_BYTES} bytes where JSON was asked for")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise RegistryLostError(f"{address} broke off: {error or 'no answer in time'}") from None
    return content
