"""Addresses of streams as Frigate and go2rtc write them, to the URL that motion opens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from motion.setup.credentials import Vault

_FRIGATE_VARIABLE = re.compile(r"\{(FRIGATE_[A-Za-z0-9_]+)\}")
_GO2RTC_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::[^}]*)?\}")
_LOGIN = re.compile(r"(rtsps?://)([^:/@]*):(.*)@([^@]*)", re.DOTALL)
_RESTREAM = re.compile(r"rtsp://(?:[^/@]*@)?(?:127\.0\.0\.1|localhost|\[::1\]|go2rtc|frigate):8554/([^/?#]+)")
_DEPTH = 5
SUB_ENDINGS = ("_sub", "-sub", "_substream", "_detect", "-detect", "_low", "-low", "_lq", "_sd")
"""What the name of a camera's smaller stream ends with, by custom."""


class SourceError(ValueError):
    """Motion cannot open such an address; why, in words that follow the name of the stream."""


class Sources:
    """Resolves addresses; those of go2rtc's own restreams by its list of streams."""

    def __init__(self, streams: Mapping[str, Any], vault: Vault) -> None:
        """Take go2rtc's mapping `streams`: a name to an address, a list of them, or a mapping with `url`."""
        self._streams = {str(name): value for name, value in streams.items()}
        self._vault = vault

    def url(self, address: object, depth: int = 0) -> str:
        """The URL of a stream, with variables for what is secret.

        Raises:
            SourceError: it is nothing that motion can open.
        """
        text = str(address).strip()
        bare = text.removeprefix("ffmpeg:").partition("#")[0].strip()
        restream = _RESTREAM.match(bare)
        if restream is not None or (text.startswith("ffmpeg:") and bare in self._streams):
            return self.named(restream[1] if restream is not None else bare, depth + 1)
        if bare.lower().startswith("rtspx://"):
            bare = "rtsps" + bare[len("rtspx") :]  # go2rtc's name for TLS whose certificate is not checked
        if not bare.lower().startswith(("rtsp://", "rtsps://")):
            kind = re.match(r"[A-Za-z0-9+.-]+(?=:)", bare)
            raise SourceError(f"{kind[0] if kind else 'such a source'} is not read here: give the camera's rtsp:// URL")
        bare = _GO2RTC_VARIABLE.sub(r"${\1}", _FRIGATE_VARIABLE.sub(r"${\1}", text.removeprefix("ffmpeg:")))
        return self._vault.without_password(_encoded(_without_options(bare)))

    def named(self, name: str, depth: int = 0) -> str:
        """The URL of one of go2rtc's streams: of the first of its sources that motion can open.

        Raises:
            SourceError: there is no such stream, or none of its sources can be opened.
        """
        if name not in self._streams:
            raise SourceError(f"go2rtc has no stream {name!r}: give the camera's rtsp:// URL")
        if depth > _DEPTH:
            raise SourceError(f"go2rtc's stream {name!r} leads back to itself")
        given = self._streams[name]
        if isinstance(given, dict):
            given = given.get("url")
        problem = SourceError(f"go2rtc's stream {name!r} has no source")
        for source in given if isinstance(given, list) else [given] if given else []:
            try:
                return self.url(source, depth)
            except SourceError as error:
                problem = error
        raise problem


def _without_options(url: str) -> str:
    """Without go2rtc's options, which follow a # after the host: a password may hold one before it."""
    at = url.rfind("@")
    head, rest = url[: at + 1], url[at + 1 :]
    bare = head + rest.partition("#")[0]
    return "rtsps" + bare[len("rtspx") :] if bare.lower().startswith("rtspx://") else bare


def _encoded(url: str) -> str:
    """Percent-encode what both systems accept unencoded in a user name or password."""
    found = _LOGIN.fullmatch(url)
    if found is None or re.fullmatch(r"\d{1,5}(?:/.*)?", found[3], re.DOTALL):
        return url
    user, password = (quote(part, safe="%${}") for part in (found[2], found[3]))
    return f"{found[1]}{user}:{password}@{found[4]}"
