"""Authentication at a registry: Basic, or a Bearer token from the issuer that it names; the registry client uses it."""

from __future__ import annotations

import base64
import re
import ssl

import aiohttp
import msgspec

from edge.errors import FleetError
from edge.settings import Credentials

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class _Token(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None


def basic(credentials: Credentials) -> str:
    """The `Authorization` header of a user."""
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()


async def answer_challenge(
    session: aiohttp.ClientSession, tls: ssl.SSLContext, challenge: str, credentials: Credentials | None, address: str
) -> str:
    """The `Authorization` header for a `WWW-Authenticate` challenge.

    Args:
        session: the client for fetching a token.
        tls: the trusted certificates.
        challenge: the header's value.
        credentials: the user, if there is one.
        address: of the registry, for errors.

    Raises:
        FleetError: there is no user, or the token's issuer refuses.
    """
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "basic":
        if credentials is None:
            raise FleetError(f"{address} needs a user: set BONGSU_MODEL_REGISTRY_USER and …_PASSWORD_FILE")
        return basic(credentials)
    facts = dict(_PARAMETER.findall(rest))
    if scheme.lower() != "bearer" or not facts.get("realm", "").startswith(address.partition("://")[0] + "://"):
        raise FleetError(f"{address} asks for an unknown kind of authentication: {challenge[:100]!r}")
    query = {key: facts[key] for key in ("service", "scope") if key in facts}
    headers = {"Authorization": basic(credentials)} if credentials is not None else {}
    try:
        async with session.get(facts["realm"], params=query, headers=headers, ssl=tls) as answer:
            if answer.status != 200:
                raise FleetError(f"{facts['realm']} gave no token (HTTP {answer.status}): check the registry's user")
            token = msgspec.json.decode(await answer.read(), type=_Token)
    except (msgspec.MsgspecError, aiohttp.ClientError, TimeoutError) as error:
        raise FleetError(f"{facts['realm']} answered with no token: {error or 'no answer in time'}") from None
    return f"Bearer {token.token or token.access_token or ''}"
