"""How much one client may ask: token buckets, and whose address it really is; `guard.py` uses it."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import structlog

from web.forwarded import elements_of, hops_of, parse_address, parse_hop

log = structlog.get_logger()

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A bucket is about 200 bytes. Who is forgotten begins with a full one.
_CLIENTS_MAX = 50_000


class Buckets:
    """A bucket of tokens for each client: a request takes one, and time fills them again."""

    def __init__(
        self, per_minute: float, clock: Callable[[], float] = time.monotonic, *, holds: float | None = None
    ) -> None:
        """Begin with nobody known.

        Args:
            per_minute: tokens that come back in a minute; 0 is no limit.
            clock: seconds, never backwards.
            holds: tokens in a full bucket; by default those of a minute.
        """
        self._most = max(per_minute if holds is None else holds, 1.0)
        self._rate = per_minute / 60
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token; 0 if there was one, or else the seconds until there is."""
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
    """The proxies that are ours: what they say of a client is believed, what anybody else says is not."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(network) for network in networks)
        self._was_contradicted = False

    def is_trusted(self, host: str) -> bool:
        """Whether this peer is a proxy of ours."""
        address = parse_address(host)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded_for: str, forwarded: str = "") -> str:
        """Who is at the other end, as a name for its bucket.

        A proxy writes one of the two headers and passes the other on as a stranger wrote it, so where they contradict
        each other neither is believed, and the client counts as the proxy.

        Args:
            peer: address of the connection.
            forwarded_for: value of X-Forwarded-For; each proxy adds at its end whom it heard from.
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
        # From the end: what stands before the first stranger was written by strangers.
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
    """A client's address, but of IPv6 its network: each household has 2^64 addresses."""
    address = parse_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host if address is None else str(address)
