"""Parses the headers that proxies add to a request: `X-Forwarded-…` and `Forwarded` (RFC 7239).

`limits.py` decides which proxies are trusted.

Source: RFC 7239, section 4; some gateways write a port after the address, and brackets around IPv6, in either header.
"""

from __future__ import annotations

import ipaddress
import re

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOP = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.]+)\](?::\w+)?|(?P<v4>[0-9.]+)(?::\w+)?")
_PAIR = re.compile(r"""\s*([A-Za-z0-9-]+)=("(?:[^"\\]|\\.)*"|[^",;\s]*)\s*([;,]|$)""")


def hops_of(forwarded_for: str) -> list[str]:
    """The addresses of an X-Forwarded-For, the client's first; each proxy appends its peer's address."""
    return [hop.strip() for hop in forwarded_for.split(",")] if forwarded_for.strip() else []


def elements_of(forwarded: str) -> list[dict[str, str]]:
    """The elements of a Forwarded header, the client's first, with lower-case names; empty if it is malformed."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(forwarded):
        pair = _PAIR.match(forwarded, at)
        if pair is None:
            return []
        value = pair[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        elements[-1][pair[1].lower()] = value
        if pair[3] == ",":
            elements.append({})
        at = pair.end()
    return elements


def parse_hop(text: str) -> Address | None:
    """The address of one hop: with or without a port, brackets or `for=`; None if it is hidden or invalid."""
    text = text.strip().removeprefix("for=").strip('"')
    found = _HOP.fullmatch(text)
    return parse_address((found["v6"] or found["v4"]) if found else text)


def parse_address(host: str) -> Address | None:
    """An IP address, with IPv4-mapped IPv6 as IPv4; None if it is not an address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
