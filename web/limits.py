"""How much one client may ask: token buckets, and whose address it really is; `guard.py` uses it."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# A bucket is about 200 bytes. Who is forgotten begins with a full one.
_CLIENTS_MAX = 50_000


class Buckets:
    """A bucket of tokens for each client: a request takes one, and time fills them again."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nobody known.

        Args:
            per_minute: tokens that come back in a minute, and that a full bucket holds; 0 is no limit.
            clock: seconds, never backwards.
        """
        self._most = max(per_minute, 1.0)
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

    def is_trusted(self, host: str) -> bool:
        """Whether this peer is a proxy of ours."""
        address = _parse(host)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded_for: str) -> str:
        """Who is at the other end, as a name for its bucket.

        Args:
            peer: address of the connection.
            forwarded_for: value of X-Forwarded-For; each proxy adds at its end whom it heard from.
        """
        client = peer
        # From the end: what stands before the first stranger was written by strangers.
        for hop in reversed(forwarded_for.split(",")) if forwarded_for else ():
            if not self.is_trusted(client) or _parse(hop.strip()) is None:
                break
            client = hop.strip()
        return _household(client)


def _household(host: str) -> str:
    """A client's address, but of IPv6 its network: each household has 2^64 addresses."""
    address = _parse(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host if address is None else str(address)


def _parse(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
