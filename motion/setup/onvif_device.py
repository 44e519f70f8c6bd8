"""Asks one ONVIF device for its video streams, through onvif-zeep-async."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_MOST_PROFILES = 64
_REFUSED = ("notauthorized", "not authorized", "unauthorized", "failedauthentication", "authority failure", "401")


class DeviceError(Exception):
    """A device does not give its streams; one line that holds neither password nor URL."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One video stream of a device."""

    source: str
    """Which of its sensors or channels it shows."""
    codec: str
    width: int
    height: int
    fps: float
    """0 where the device does not say it."""
    uri: str

    @property
    def words(self) -> str:
        """Codec, size and rate, as a table shows them."""
        size = f"{self.width}x{self.height}" if self.width else "size unknown"
        return f"{self.codec or 'codec unknown'} {size}" + (f" {self.fps:g} fps" if self.fps else "")


@dataclass(frozen=True, slots=True)
class Channel:
    """One sensor of a device: its best stream, and the one to look for motion in, where that is smaller."""

    main: Stream
    sub: Stream | None = None


async def read_channels(xaddr: str, user: str, password: str, timeout_s: float) -> list[Channel]:
    """The channels of a device, in its own order.

    Raises:
        DeviceError: it refuses, does not answer in time, or has no video.
    """
    _be_quiet()
    with _explained(timeout_s):
        async with asyncio.timeout(timeout_s):
            streams = await _read_streams(xaddr, user, password)
    if not streams:
        raise DeviceError("lists no video stream that it serves over RTSP")
    return channels(streams)


async def load_definitions() -> None:
    """Parse the service definitions, which takes seconds on a small machine, before answers are waited for."""
    from onvif import ONVIFCamera

    _be_quiet()
    client = ONVIFCamera("127.0.0.1", 9, "", "", no_cache=True)
    try:
        await client.create_devicemgmt_service()
        client.xaddrs["http://www.onvif.org/ver10/media/wsdl"] = "http://127.0.0.1:9/"
        await client.create_media_service()
    finally:
        await client.close()


def channels(streams: list[Stream]) -> list[Channel]:
    """Streams by sensor: H.264 and H.265 before other codecs, the largest as main, the smallest as sub-stream."""
    found = []
    for source in dict.fromkeys(stream.source for stream in streams):
        of_source = [stream for stream in streams if stream.source == source]
        modern = [stream for stream in of_source if stream.codec in ("H264", "H265", "")] or of_source
        main = max(modern, key=_area)
        sub = min((stream for stream in modern if stream.width), key=_area, default=main)
        found.append(Channel(main, sub if _area(sub) < _area(main) and sub.uri != main.uri else None))
    return found


async def _read_streams(xaddr: str, user: str, password: str) -> list[Stream]:
    from onvif import ONVIFCamera

    parts = urlsplit(xaddr)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else f"{parts.hostname}"
    # adjust_time: the digest of a password holds the time, and the clock of many a camera is wrong.
    port = parts.port or (443 if parts.scheme == "https" else 80)
    client = ONVIFCamera(f"{parts.scheme}://{host}", port, user, password, no_cache=True, adjust_time=True)
    definition = client.get_definition

    def at_xaddr(name: str, port_type: str | None = None) -> tuple[str, str, str]:
        """The device service is where the device said, which is not always the usual path."""
        usual, wsdl, binding = definition(name, port_type)
        return (xaddr if name == "devicemgmt" else usual), wsdl, binding

    client.get_definition = at_xaddr
    try:
        await client.update_xaddrs()
        media = await client.create_media_service()
        profiles = await media.GetProfiles()
        found = [await _stream(media, profile, parts.hostname or "") for profile in (profiles or [])[:_MOST_PROFILES]]
        return [stream for stream in found if stream is not None]
    finally:
        await client.close()


async def _stream(media: Any, profile: Any, host: str) -> Stream | None:
    from zeep.exceptions import Fault

    source = getattr(profile.VideoSourceConfiguration, "SourceToken", None)
    if source is None:
        return None  # sound or events alone
    setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
    try:
        answer = await media.GetStreamUri({"StreamSetup": setup, "ProfileToken": profile.token})
    except Fault as error:
        if _is_refusal(error):
            raise
        return None  # a profile that is listed and not served
    uri = str(answer.Uri or "").strip()
    if not uri.lower().startswith(("rtsp://", "rtsps://")):
        return None
    encoder = profile.VideoEncoderConfiguration
    size = getattr(encoder, "Resolution", None)
    rate = getattr(getattr(encoder, "RateControl", None), "FrameRateLimit", None)
    return Stream(
        str(source),
        str(getattr(encoder, "Encoding", None) or ""),
        int(getattr(size, "Width", None) or 0),
        int(getattr(size, "Height", None) or 0),
        float(rate or 0),
        _reachable(uri, host),
    )


def _reachable(uri: str, host: str) -> str:
    """The URI with the host that answered, where the device gives one that leads nowhere."""
    parts = urlsplit(uri)
    if parts.hostname not in ("0.0.0.0", "", None):
        return uri
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"[{host}]{port}" if ":" in host else f"{host}{port}").geturl()


def _area(stream: Stream) -> int:
    return stream.width * stream.height


@contextmanager
def _explained(timeout_s: float) -> Iterator[None]:
    import aiohttp
    from onvif.exceptions import ONVIFAuthError, ONVIFError, ONVIFTimeoutError
    from zeep.exceptions import Error, Fault

    try:
        yield
    except (TimeoutError, ONVIFTimeoutError):
        raise DeviceError(f"no answer for {timeout_s:g} s") from None
    except ONVIFAuthError:
        raise DeviceError("user name or password refused") from None
    except (Fault, ONVIFError, Error) as error:
        if _is_refusal(error):
            raise DeviceError("user name or password refused") from None
        said = " ".join(str(getattr(error, "message", None) or error).split())[:120]
        raise DeviceError(f"answers GetProfiles with an error: {said}" if said else "answers with an error") from None
    except (aiohttp.ClientError, OSError):
        raise DeviceError("cannot be reached over HTTP at the address it announced") from None
    except (ValueError, AttributeError, TypeError, LookupError):
        raise DeviceError("answers with something that is not ONVIF") from None


def _is_refusal(error: Exception) -> bool:
    subcodes = " ".join(str(code) for code in getattr(error, "subcodes", None) or ())
    return any(word in f"{error} {subcodes}".lower() for word in _REFUSED)


def _be_quiet() -> None:
    """The client logs its requests, with URLs; its exceptions say what went wrong."""
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("onvif", "zeep", "zeep.transports"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
