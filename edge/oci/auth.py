"""How a registry asks who calls: Basic, or a Bearer token fetched where it says. The client of registries uses it."""

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
    """The header `Authorization` of a user."""
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()


async def answer_challenge(
    session: aiohttp.ClientSession, tls: ssl.SSLContext, challenge: str, credentials: Credentials | None, address: str
) -> str:
    """The header `Authorization` that a `WWW-Authenticate` asks for.

    Args:
        session: To fetch a token with.
        tls: Whose certificates are believed.
        challenge: The header's value.
        credentials: Who calls, if anybody in particular.
        address: Of the registry, for errors.

    Raises:
        FleetError: nobody is named, or the token's issuer refuses.
    """
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "basic":
        if credentials is None:
            raise FleetError(f"{address} asks for a user: set BONGSU_MODEL_REGISTRY_USER and …_PASSWORD_FILE")
        return basic(credentials)
    facts = dict(_PARAMETER.findall(rest))
    if scheme.lower() != "bearer" or not facts.get("realm", "").startswith(address.partition("://")[0] + "://"):
        raise FleetError(f"{address} asks for a sign-in of a kind that is not known: {challenge[:100]!r}")
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
