"""Sends the clips of incidents to the map API: it asks which are wanted, and deletes here what has arrived there."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime, timedelta
from http.client import HTTPException
from urllib.parse import urlencode

import msgspec
import structlog
from msgspec import Struct

from functions.clip import ClipName
from functions.event import utc_now
from motion.clip import CLIPS
from motion.clip_folder import ClipFolder

log = structlog.get_logger()

_ASK_EVERY_S = 5.0
_RETRY_CAP_S = 60.0
_TIMEOUT_S = 20.0
_RECENT = timedelta(hours=1)
_MARGIN = timedelta(minutes=5)
_REFUSED = (404, 409, 413, 422)
"""Answers that another attempt with the same clip would not change."""


class Wanted(Struct, frozen=True):
    """An incident of which clips are wanted."""

    camera: str
    since: datetime
    until: datetime


class WantedList(Struct, frozen=True):
    """The map API's answer."""

    wanted: tuple[Wanted, ...]


class SendError(Exception):
    """The map API does not answer, or refuses the key; the message says what to change."""


class ClipSender:
    """Sends clips until cancelled. Nothing of a camera waits for it."""

    def __init__(self, folder: ClipFolder, url: str, key: str, max_age: timedelta) -> None:
        """Send from this folder.

        Args:
            folder: the clips of this node.
            url: address of the map API.
            key: a key of it, with the role `node`.
            max_age: how old clips of the folder may be: the first request asks for incidents of all that time.
        """
        self._folder = folder
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "X-Requested-With": "XMLHttpRequest"}
        self._since_at = utc_now() - max_age
        self._problem = ""

    async def run(self) -> None:
        """Ask and send until cancelled."""
        pause_s = _ASK_EVERY_S
        while True:
            try:
                await asyncio.to_thread(self.send_wanted)
                pause_s = _ASK_EVERY_S
                self._report("")
            except SendError as error:
                self._report(str(error))
                pause_s = min(2 * pause_s, _RETRY_CAP_S)
            await asyncio.sleep(pause_s)

    def send_wanted(self) -> int:
        """Ask once, and send what is wanted; returns how many clips arrived.

        Raises:
            SendError: the map API did not answer, or refused the key.
        """
        cameras = self._folder.cameras()
        if not cameras:
            return 0
        asked_at = utc_now()
        query = urlencode({"since": self._since_at.isoformat(timespec="seconds").replace("+00:00", "Z")})
        body = self._ask("GET", f"/api/clips/wanted?{query}")
        try:
            wanted = msgspec.json.decode(body or b"", type=WantedList).wanted
        except msgspec.DecodeError as error:
            raise SendError(f"BONGSU_CLIP_API: this is not the map API: {error}") from None
        sent = sum(self._send(name) for name in self._found(wanted, cameras))
        # Incidents of bursts that waited for the broker are recorded late.
        self._since_at = max(self._since_at, asked_at - _RECENT - _MARGIN)
        return sent

    def _found(self, wanted: Sequence[Wanted], cameras: Sequence[str]) -> list[ClipName]:
        ours = [one for one in wanted if one.camera in cameras]
        return sorted({name for one in ours for name in self._folder.find(one.camera, one.since, one.until)})

    def _send(self, name: ClipName) -> bool:
        sealed = self._folder.read(name)
        if sealed is None:
            return False
        is_stored = self._ask("PUT", f"/api/clips/{name.path}", sealed) is not None
        CLIPS.labels(name.camera, "sent" if is_stored else "refused").inc()
        self._folder.remove([name])
        if is_stored:
            log.info("clip_sent", camera=name.camera, bytes=len(sealed))
        return is_stored

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes | None:
        """The answer; None if this clip is refused."""
        headers = self._headers | ({"Content-Type": "application/octet-stream"} if body is not None else {})
        request = urllib.request.Request(self._url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            if body is not None and error.code in _REFUSED:
                log.error("clip_refused", status=error.code, reason=error.read(300).decode("utf-8", "replace"))
                return None
            raise SendError(f"the map API answered {error.code}: {_FIXES.get(error.code, error.reason)}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise SendError(f"no answer from the map API: {getattr(error, 'reason', error)}") from None

    def _report(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("clips_not_sent", reason=problem)
        self._problem = problem


_FIXES = {
    401: "BONGSU_CLIP_API_KEY is not in its key file",
    403: "BONGSU_CLIP_API_KEY must have the role `node`",
    404: "BONGSU_CLIP_URL is not set there, or BONGSU_CLIP_API is not its address",
}
