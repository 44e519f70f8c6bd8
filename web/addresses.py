"""The address at which a client reaches this service: as configured, or as its request shows."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import Scope

from web.forwarded import elements_of
from web.site import Site

_HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# The default port of a scheme is left out.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def base_of(scope: Scope, headers: Headers, site: Site) -> str:
    """The base of this service's addresses for this client, without a slash at its end.

    Without a public URL it is taken from the request: from its Host, or from a trusted proxy's headers.
    """
    if site.public_url:
        return site.public_url
    hosts = [headers.get("host", "")]
    if is_proxied(scope, site):
        hosts = [_first(headers.get("x-forwarded-host", "")), _forwarded(headers, "host"), *hosts]
    host = next((host for host in hosts if _HOST.fullmatch(host)), None) or _listening(scope)
    return f"{scheme_of(scope, headers, site)}://{host}"


def scheme_of(scope: Scope, headers: Headers, site: Site) -> str:
    """`http` or `https`: the scheme the client used, directly or to a trusted proxy."""
    scheme = ""
    if is_proxied(scope, site):
        scheme = _first(headers.get("x-forwarded-proto", "")) or _forwarded(headers, "proto")
    return _SCHEMES.get(scheme.lower()) or _SCHEMES[scope["scheme"]]


def is_secure(scope: Scope, headers: Headers, site: Site) -> bool:
    """Whether the client used https, directly or to one of our proxies."""
    return scheme_of(scope, headers, site) == "https" or site.public_url.startswith("https://")


def is_proxied(scope: Scope, site: Site) -> bool:
    """Whether the connection comes from a trusted proxy, so that its headers are trusted."""
    peer = scope.get("client")
    return peer is not None and site.proxies.is_trusted(peer[0])


def show_host(host: str) -> str:
    """A host as written in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _first(values: str) -> str:
    return values.partition(",")[0].strip()


def _forwarded(headers: Headers, name: str) -> str:
    elements = elements_of(", ".join(headers.getlist("forwarded")))
    return elements[0].get(name, "") if elements else ""


def _listening(scope: Scope) -> str:
    host, port = scope.get("server") or ("localhost", None)
    return show_host(host) if port is None else f"{show_host(host)}:{port}"
