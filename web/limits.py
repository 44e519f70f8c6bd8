"""Rate limits for each client by token buckets, and the client's real address; `guard.py` uses it."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import structlog

from web.forwarded import elements_of, hops_of, parse_address, parse_hop

log = structlog.get_logger()

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A bucket is about 200 bytes. A client whose bucket was dropped starts with a full one.
_CLIENTS_MAX = 50_000


class Buckets:
    """A token bucket for each client: a request takes a token, and time refills the bucket."""

    def __init__(
        self, per_minute: float, clock: Callable[[], float] = time.monotonic, *, holds: float | None = None
    ) -> None:
        """Start without any buckets.

        Args:
            per_minute: tokens refilled in a minute; 0 means unlimited.
            clock: seconds, monotonic.
            holds: capacity of a bucket; by default the tokens of a minute.
        """
        self._most = max(per_minute if holds is None else holds, 1.0)
        self._rate = per_minute / 60
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token; returns 0, or the seconds until there is one."""
        missing_s = self.wait(client)
        if self._rate and not missing_s:
            level, at = self._levels[client]
            self._levels[client] = level - 1, at
        return missing_s

    def wait(self, client: str) -> float:
        """Seconds until there is a token, 0 if there is one now; takes none."""
        if not self._rate:
            return 0.0
        now = self._clock()
        level, at = self._levels.get(client, (self._most, now))
        level = min(self._most, level + (now - at) * self._rate)
        self._levels[client] = level, now
        self._levels.move_to_end(client)
        if len(self._levels) > _CLIENTS_MAX:
            self._levels.popitem(last=False)
        return 0.0 if level >= 1 else (1 - level) / self._rate


class Proxies:
    """Our proxies: forwarding headers are accepted from them, and from nobody else."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(network) for network in networks)
        self._was_contradicted = False

    def is_trusted(self, host: str) -> bool:
        """Whether this peer is one of our proxies."""
        address = parse_address(host)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded_for: str, forwarded: str = "") -> str:
        """The client behind the proxies, as the name of its bucket.

        A proxy writes one of the two headers and may pass on the other as a stranger wrote it. If they contradict each
        other, neither is used, and the client counts as the proxy.

        Args:
            peer: address of the connection.
            forwarded_for: value of X-Forwarded-For; each proxy appends its peer's address.
            forwarded: value of Forwarded (RFC 7239), likewise.
        """
        named = self._follow(peer, hops_of(forwarded_for))
        if forwarded:
            other = self._follow(peer, [element.get("for", "") for element in elements_of(forwarded)])
            if forwarded_for and named != other:
                self._warn(peer)
                return _household(peer)
            named = other
        return named

    def _follow(self, peer: str, hops: Sequence[str]) -> str:
        client = peer
        # From the end: everything before the first unknown address may be forged.
        for hop in reversed(hops):
            address = parse_hop(hop)
            if not self.is_trusted(client) or address is None:
                break
            client = str(address)
        return _household(client)

    def _warn(self, peer: str) -> None:
        if self.is_trusted(peer) and not self._was_contradicted:
            self._was_contradicted = True
            log.warning(
                "forwarded_headers_differ",
                proxy=peer,
                fix="have the proxy remove X-Forwarded-For or Forwarded of clients",
            )


def _household(host: str) -> str:
    """A client's address, or for IPv6 its /64 network, as each household has 2^64 addresses."""
    address = parse_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host if address is None else str(address)
