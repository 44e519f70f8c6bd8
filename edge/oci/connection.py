"""The connection to a registry: pinned authority, authentication, and errors in one line; `remote.py` uses it."""

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
    """The connection broke, or could not be opened; a retry may succeed."""


class Connection:
    """HTTP to one registry.

    Attributes:
        address: as configured.
        root: scheme and host.
        prefix: prefix of the names of our repositories, with a slash; often empty.
    """

    def __init__(self, address: str, ca: Path | None, credentials: Credentials | None) -> None:
        """Prepare; nothing is connected yet.

        Args:
            address: `https://host[:port][/prefix]`.
            ca: the only trusted authority; None: the system's.
            credentials: the user.

        Raises:
            FleetError: the authority's file is invalid, or a password would be sent unencrypted.
        """
        self.address = address.rstrip("/")
        scheme, _, rest = self.address.partition("://")
        host, _, prefix = rest.partition("/")
        if scheme == "http" and credentials is not None and not host.startswith(("127.0.0.1", "localhost", "[::1]")):
            raise FleetError(f"{address} would send the password unencrypted: use https://")
        self.root = f"{scheme}://{host}"
        self.prefix = f"{prefix}/" if prefix else ""
        self._credentials = credentials
        self._authorizations: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None
        try:
            self._tls = ssl.create_default_context(cafile=str(ca)) if ca is not None else ssl.create_default_context()
        except (ssl.SSLError, OSError) as error:
            raise FleetError(f"{ca} has no CA certificate in PEM: {error}") from None

    def authorization(self, name: str) -> str | None:
        """The `Authorization` header last used for a repository; None if none was needed."""
        return self._authorizations.get(name)

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, method: str, url: str, ok: tuple[int, ...], **request: Any) -> aiohttp.ClientResponse:
        """Send one request, with authentication if the registry asks for it.

        Raises:
            FleetError: it cannot be reached, its certificate is not from the pinned authority, or it refuses.
        """
        if not url.startswith(f"{self.root}/"):
            raise FleetError(f"{self.address} redirects to another host, {url[:100]!r}, which is not followed")
        answer = await self._once(method, url, **request)
        if answer.status == 401:
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.release()
            authorization = await answer_challenge(self._open(), self._tls, challenge, self._credentials, self.root)
            self._authorizations[self._repository(url)] = authorization
            answer = await self._once(method, url, **request)
        if answer.status not in ok:
            message = (await answer.content.read(400)).decode(errors="replace").strip()
            answer.release()
            if answer.status in (401, 403):
                raise FleetError(
                    f"{self.address} refuses this user (HTTP {answer.status}): check its name and password"
                )
            raise FleetError(f"{self.address} answered HTTP {answer.status} to {method}: {message or answer.reason}")
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
                f"{self.address} has a certificate that is not trusted ({reason}): name its authority in "
                "BONGSU_MODEL_REGISTRY_CA"
            ) from None
        except (aiohttp.ClientConnectorError, TimeoutError) as error:
            raise RegistryLostError(f"{self.address} cannot be reached: {error or 'no answer in time'}") from None
        except aiohttp.ClientError as error:
            raise RegistryLostError(f"{self.address} closed the connection: {error or type(error).__name__}") from None

    def _repository(self, url: str) -> str:
        path = url.removeprefix(f"{self.root}/v2/").removeprefix(self.prefix)
        return re.split(r"/(?:blobs|manifests|tags)/", path)[0]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False)
        return self._session


def location(answer: aiohttp.ClientResponse) -> str:
    """The address at which an upload continues.

    Raises:
        FleetError: the registry does not send it.
    """
    if "Location" not in answer.headers:
        raise FleetError(f"{answer.url.host} answered an upload without the address at which it continues")
    return urljoin(str(answer.url), answer.headers["Location"])


async def read_limited(answer: aiohttp.ClientResponse, address: str) -> bytes:
    """Read the body of a JSON answer.

    Raises:
        FleetError: it is larger than a manifest may be, or the connection broke.
    """
    content = b""
    try:
        async for chunk in answer.content.iter_chunked(_READ_BYTES):
            content += chunk
            if len(content) > MAX_MANIFEST_BYTES:
                raise FleetError(f"{address} answered with over {MAX_MANIFEST_BYTES} bytes instead of JSON")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise RegistryLostError(f"{address} closed the connection: {error or 'no answer in time'}") from None
    return content
