"""WS-Discovery: asks the local network for ONVIF devices, on the interfaces that are named or on all.

The exchange is one multicast question and its answers. WSDiscovery 2.1, the library for it, cannot be held to an
interface and leaves the loopback out, so the exchange is made here; what follows it, SOAP over HTTP, is done by
onvif-zeep-async (`onvif_device.py`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

GROUP, PORT = "239.255.255.250", 3702
_REPEATS, _REPEAT_S = 2, 0.2  # a datagram may be lost: SOAP-over-UDP sends each multicast twice
_MOST = 1000
_SCOPE = "onvif://www.onvif.org/"
# Some firmware answers to one of the two types only.
_TYPES = (
    'xmlns:t="http://www.onvif.org/ver10/network/wsdl">t:NetworkVideoTransmitter',
    'xmlns:t="http://www.onvif.org/ver10/device/wsdl">t:Device',
)
_PROBE = """<?xml version="1.0" encoding="UTF-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><e:Header><a:MessageID>urn:uuid:{id}</a:MessageID>
<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>
<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action></e:Header>
<e:Body><d:Probe><d:Types {types}</d:Types></d:Probe></e:Body></e:Envelope>"""


class InterfaceError(ValueError):
    """No such network interface, or none to ask on; one line."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that answered."""

    endpoint: str
    """Its own identity, the same on every interface."""
    xaddr: str
    """URL of its device service."""
    name: str
    hardware: str
    scopes: tuple[str, ...]

    @property
    def host(self) -> str:
        """Address or name, with the port where it is not that of HTTP."""
        parts = urlsplit(self.xaddr)
        return (parts.hostname or "") + (f":{parts.port}" if parts.port not in (None, 80) else "")


async def find_devices(interfaces: Sequence[str], timeout_s: float) -> list[Device]:
    """Ask on these interfaces (names or addresses; none: every one but the loopback) and collect answers for so long.

    Raises:
        InterfaceError: there is no such interface.
    """
    loop = asyncio.get_running_loop()
    found: dict[str, Device] = {}
    transports = []
    try:
        for address in _addresses(interfaces):
            opened = _socket(address)
            transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(found), sock=opened)
            transports.append(transport)
        probes = [_PROBE.format(id=uuid.uuid4(), types=types).encode() for types in _TYPES]
        for _ in range(_REPEATS):
            for transport in transports:
                for probe in probes:
                    transport.sendto(probe, (GROUP, PORT))
            await asyncio.sleep(_REPEAT_S)
        await asyncio.sleep(max(0.0, timeout_s - _REPEATS * _REPEAT_S))
    finally:
        for transport in transports:
            transport.close()
    return sorted({device.xaddr: device for device in found.values()}.values(), key=_order)


def parse_answer(data: bytes, sender: str) -> list[Device]:
    """The devices that one datagram names; none if it is not a ProbeMatches."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        return []
    return [device for match in root.iterfind(".//{*}ProbeMatch") if (device := _device(match, sender)) is not None]


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, found: dict[str, Device]) -> None:
        self._found = found

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if len(self._found) < _MOST:
            self._found.update({device.endpoint: device for device in parse_answer(data, str(addr[0]))})

    def error_received(self, exc: Exception) -> None:
        """An interface without multicast refuses the question; the others have it still."""


def _device(match: Any, sender: str) -> Device | None:
    xaddrs = (match.findtext("{*}XAddrs") or "").split()
    usable = [xaddr for xaddr in xaddrs if urlsplit(xaddr).scheme in ("http", "https") and _host(xaddr)]
    if not usable:
        return None
    scopes = tuple(unquote(scope) for scope in (match.findtext("{*}Scopes") or "").split())
    xaddr = min(usable, key=lambda found: (_host(found) != sender, not _is_ipv4(_host(found))))
    endpoint = (match.findtext("{*}EndpointReference/{*}Address") or xaddr).strip()
    return Device(endpoint, xaddr, _scope(scopes, "name"), _scope(scopes, "hardware"), scopes)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _scope(scopes: Sequence[str], kind: str) -> str:
    value = next((s.removeprefix(_SCOPE + kind + "/") for s in scopes if s.startswith(_SCOPE + kind + "/")), "")
    return "".join(character for character in value if character.isprintable()).strip()


def _is_ipv4(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 4
    except ValueError:
        return False


def _order(device: Device) -> tuple[object, ...]:
    host = _host(device.xaddr)
    return (not _is_ipv4(host), int(ipaddress.ip_address(host)) if _is_ipv4(host) else 0, device.xaddr)


def _addresses(wanted: Sequence[str]) -> list[str]:
    """The IPv4 addresses to ask from."""
    here = list(_interfaces())
    if not wanted:
        found = [address for _, address in here if not ipaddress.ip_address(address).is_loopback]
        if not found:
            raise InterfaceError("no network interface has an IPv4 address: connect one")
        return found
    for name in wanted:
        if not any(name in pair for pair in here):
            known = ", ".join(sorted({interface for interface, _ in here}))
            raise InterfaceError(f"--interface {name}: no such interface with an IPv4 address: known are {known}")
    return [address for interface, address in here if interface in wanted or address in wanted]


def _interfaces() -> Iterator[tuple[str, str]]:
    import ifaddr

    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if isinstance(ip.ip, str):
                yield adapter.name, ip.ip


def _socket(address: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    opened.bind((address, 0))
    return opened
