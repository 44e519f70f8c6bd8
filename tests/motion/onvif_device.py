"""An ONVIF device for tests: answers WS-Discovery on the loopback and SOAP over HTTP, and keeps the rules of both.

A ProbeMatches relates to its Probe and goes to the one who asked. GetSystemDateAndTime and GetServices need no login,
all else needs a UsernameToken with a digest (WS-Security UsernameToken Profile 1.0): its time within five seconds of
the device's own clock, its nonce not used before.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

GROUP, PORT = "239.255.255.250", 3702
_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_TOLERANCE_S = 5


@dataclass
class Profile:
    token: str
    codec: str
    width: int
    height: int
    fps: int
    uri: str
    source: str = "source_1"


@dataclass
class OnvifDevice:
    """A device on 127.0.0.1; use as a context manager."""

    profiles: Sequence[Profile]
    name: str = "Gate"
    user: str = "admin"
    password: str = "s3cret"
    clock_skew_s: float = 0.0
    answers: int = 1
    """How often it answers one question."""
    hangs_at: str = ""
    """The request that it never answers."""
    path: str = "/onvif/device_service"
    location: str = field(default_factory=lambda: uuid.uuid4().hex)
    """A scope of its own: devices of other tests are on the same network."""
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __enter__(self) -> OnvifDevice:
        self._stop, self._nonces, self._endpoint = threading.Event(), set[str](), f"urn:uuid:{uuid.uuid4()}"
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._udp.bind((GROUP, PORT))
        member = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1"))
        self._udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        self._udp.settimeout(0.1)
        self._threads = [
            threading.Thread(target=self._http.serve_forever, args=(0.05,)),
            threading.Thread(target=self._answer_probes),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *of: object) -> None:
        self._stop.set()
        self._http.shutdown()
        for thread in self._threads:
            thread.join()
        self._http.server_close()
        self._udp.close()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def _answer_probes(self) -> None:
        while not self._stop.is_set():
            try:
                data, sender = self._udp.recvfrom(65535)
            except TimeoutError:
                continue
            root = etree.fromstring(data)
            types = root.findtext(".//{*}Types") or ""
            if root.find(".//{*}Probe") is None or "NetworkVideoTransmitter" not in types:
                continue
            for _ in range(self.answers):
                self._udp.sendto(self._probe_matches(root.findtext(".//{*}MessageID") or "").encode(), sender)

    def _probe_matches(self, relates_to: str) -> str:
        scopes = f"onvif://www.onvif.org/name/{self.name} onvif://www.onvif.org/location/{self.location} "
        return f"""<?xml version="1.0"?><e:Envelope xmlns:e="{_SOAP}"
 xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"
 xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><e:Header><a:MessageID>urn:uuid:{uuid.uuid4()}</a:MessageID>
<a:RelatesTo>{relates_to}</a:RelatesTo><a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To>
<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</a:Action></e:Header><e:Body><d:ProbeMatches>
<d:ProbeMatch><a:EndpointReference><a:Address>{self._endpoint}</a:Address></a:EndpointReference>
<d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>{scopes} onvif://www.onvif.org/hardware/DBL-1</d:Scopes>
<d:XAddrs>http://169.254.7.7/onvif/device_service {self.base}{self.path}</d:XAddrs>
<d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        device = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = etree.fromstring(self.rfile.read(int(self.headers["Content-Length"])))
                status, text = (404, "") if self.path not in (device.path, "/media") else device._answer(body)
                self.send_response(status)
                self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: Any) -> None:
                pass

        return Handler

    def _answer(self, root: Any) -> tuple[int, str]:
        request = etree.QName(root.find(f"{{{_SOAP}}}Body")[0]).localname
        self.requests.append(request)
        if request == self.hangs_at:
            self._stop.wait(30)
            return 500, ""
        if request not in ("GetSystemDateAndTime", "GetServices") and (problem := self._problem(root)):
            self.refused.append(problem)
            return 400, _fault("ter:NotAuthorized", "Sender not Authorized")
        if request == "GetStreamUri":
            token = root.findtext(".//{*}ProfileToken")
            profile = next((p for p in self.profiles if p.token == token), None)
            if profile is None or not profile.uri:
                return 400, _fault("ter:InvalidArgVal", "No such profile")
            return 200, _envelope(
                f"<m:GetStreamUriResponse><m:MediaUri><tt:Uri>{escape(profile.uri)}</tt:Uri>"
                "<tt:InvalidAfterConnect>false</tt:InvalidAfterConnect><tt:InvalidAfterReboot>false"
                "</tt:InvalidAfterReboot><tt:Timeout>PT60S</tt:Timeout></m:MediaUri></m:GetStreamUriResponse>"
            )
        known = {"GetSystemDateAndTime": self._time, "GetServices": self._services, "GetProfiles": self._profiles}
        if request not in known:
            return 500, _fault("ter:ActionNotSupported", "Not supported")
        return 200, _envelope(known[request]())

    def _problem(self, root: Any) -> str:
        token = root.find(".//{*}UsernameToken")
        if token is None:
            return "no UsernameToken"
        user, given = token.findtext("{*}Username"), token.findtext("{*}Password")
        nonce, created = token.findtext("{*}Nonce") or "", token.findtext("{*}Created") or ""
        digest = hashlib.sha1(base64.b64decode(nonce) + created.encode() + self.password.encode()).digest()
        if user != self.user or given != base64.b64encode(digest).decode():
            return "wrong digest"
        away_s = abs((datetime.fromisoformat(created) - self._now()).total_seconds())
        if away_s > _TOLERANCE_S:
            return "created at another time"
        if nonce in self._nonces:
            return "nonce used before"
        self._nonces.add(nonce)
        return ""

    def _now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC) + timedelta(seconds=self.clock_skew_s)

    def _time(self) -> str:
        now = self._now()
        return (
            "<t:GetSystemDateAndTimeResponse><t:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
            "<tt:DaylightSavings>false</tt:DaylightSavings><tt:UTCDateTime>"
            f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
            f"<tt:Second>{now.second}</tt:Second></tt:Time><tt:Date><tt:Year>{now.year}</tt:Year>"
            f"<tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date></tt:UTCDateTime>"
            "</t:SystemDateAndTime></t:GetSystemDateAndTimeResponse>"
        )

    def _services(self) -> str:
        found = (("device", self.path), ("media", "/media"))
        return (
            "<t:GetServicesResponse>"
            + "".join(
                f"<t:Service><t:Namespace>http://www.onvif.org/ver10/{name}/wsdl</t:Namespace>"
                f"<t:XAddr>{self.base}{path}</t:XAddr><t:Version><tt:Major>2</tt:Major><tt:Minor>6</tt:Minor></t:Version>"
                "</t:Service>"
                for name, path in found
            )
            + "</t:GetServicesResponse>"
        )

    def _profiles(self) -> str:
        return "<m:GetProfilesResponse>" + "".join(_profile(p) for p in self.profiles) + "</m:GetProfilesResponse>"


def _profile(p: Profile) -> str:
    return (
        f'<m:Profiles token="{p.token}" fixed="true"><tt:Name>{p.token}</tt:Name>'
        f'<tt:VideoSourceConfiguration token="v_{p.source}"><tt:Name>v</tt:Name><tt:UseCount>2</tt:UseCount>'
        f'<tt:SourceToken>{p.source}</tt:SourceToken><tt:Bounds x="0" y="0" width="{p.width}" height="{p.height}"/>'
        f'</tt:VideoSourceConfiguration><tt:VideoEncoderConfiguration token="e_{p.token}"><tt:Name>e</tt:Name>'
        f"<tt:UseCount>1</tt:UseCount><tt:Encoding>{p.codec}</tt:Encoding><tt:Resolution><tt:Width>{p.width}</tt:Width>"
        f"<tt:Height>{p.height}</tt:Height></tt:Resolution><tt:Quality>5</tt:Quality><tt:RateControl>"
        f"<tt:FrameRateLimit>{p.fps}</tt:FrameRateLimit><tt:EncodingInterval>1</tt:EncodingInterval>"
        "<tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl></tt:VideoEncoderConfiguration></m:Profiles>"
    )


def _envelope(body: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="{_SOAP}" '
        'xmlns:t="http://www.onvif.org/ver10/device/wsdl" xmlns:m="http://www.onvif.org/ver10/media/wsdl" '
        f'xmlns:tt="http://www.onvif.org/ver10/schema"><e:Body>{body}</e:Body></e:Envelope>'
    )


def _fault(subcode: str, reason: str) -> str:
    return _envelope(
        f'<e:Fault xmlns:ter="http://www.onvif.org/ver10/error"><e:Code><e:Value>e:Sender</e:Value><e:Subcode>'
        f"<e:Value>{subcode}</e:Value></e:Subcode></e:Code><e:Reason>"
        f'<e:Text xml:lang="en">{reason}</e:Text></e:Reason></e:Fault>'
    )
