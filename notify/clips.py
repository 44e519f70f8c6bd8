"""Makes mosaicked clips for the public from sealed ones: `python -m notify.clips`, off unless it is given a key.

A part of the captioner, but a process of its own and no function of the broker: a clip takes a minute of CPU, for which
no alert must wait, and both stores say by themselves what is still to be made. It is the only service that can open a
sealed clip. Of whatever is in doubt (docs/clips.md) there is no public clip.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from prometheus_client import Counter, Histogram

from functions import telemetry
from functions.clip import ClipName, unseal_clip
from functions.event import utc_now
from functions.sealing import PRIVATE, SealError, read_key
from functions.settings import Environment, Secret, SettingsError, read
from functions.stopping import stop_event
from notify.resources import open_stores
from privacy.faces import FaceFinder, RedactionError
from privacy.video import Limit, RedactedVideo, Searcher, redact_video
from store import Store, StoreError, StoreUrlError
from store.clips import ClipError, Clips, StoredClip, is_public
from store.public_clips import PublicClips
from store.snapshots import SnapshotError

log = structlog.get_logger()

public_clips_total = Counter("bongsu_public_clips_total", "Mosaicked clips for the public, by outcome", ["outcome"])
made_seconds = Histogram(
    "bongsu_public_clip_duration_seconds", "Making one clip", buckets=(5, 10, 20, 40, 80, 160, 320, 640)
)

_LOOK_EVERY_S = 5.0
_RETRY_S = 30.0
_NEARLY_FULL = 0.9
_NICE = 10
"""Alerts come first."""


class PublicClipSettings(Environment, frozen=True):
    """What makes public clips."""

    clip_url: str = ""
    """Folder or bucket of the sealed clips, as the map API's."""
    clip_private_key: Secret = Secret("")
    """Private key of one pair that clips are sealed for; only this process has it."""
    public_clip_url: str = ""
    """Folder or bucket for mosaicked clips, which the map API shows everybody."""
    public_clip_keep_days: float = 7.0
    """Of what was recorded longer ago no public clip is made."""
    public_clip_keep_gb: float = 5.0
    """The most that all public clips have together (10^9 bytes)."""
    public_clip_timeout_s: float = 1800.0
    """A clip that takes longer is withheld."""
    redact_plates: bool = False
    """Whether to pixelate the lower part of every vehicle, where its number plate is."""

    def __post_init__(self) -> None:
        for name in ("clip_url", "clip_private_key", "public_clip_url"):
            if not getattr(self, name):
                raise ValueError(f"BONGSU_{name.upper()} is not set: public clips need it (docs/clips.md)")
        try:
            read_key(self.clip_private_key.reveal(), PRIVATE)
        except SettingsError as error:
            raise ValueError(f"BONGSU_CLIP_PRIVATE_KEY: {error}") from None
        for suffix in ("keep_days", "keep_gb", "timeout_s"):
            if (given := getattr(self, f"public_clip_{suffix}")) <= 0:
                raise ValueError(f"BONGSU_PUBLIC_CLIP_{suffix.upper()} must be above 0, got {given:g}")


@dataclass(slots=True)
class ClipMaker:
    """Makes what is missing in the public store, and takes out what may not be shown any more."""

    settings: PublicClipSettings
    store: Store
    sealed: Clips
    public: PublicClips
    searcher: Searcher
    stopping: threading.Event = field(default_factory=threading.Event)
    withheld: set[ClipName] = field(default_factory=set)
    """Clips that were given up; a new process tries them once more."""

    async def look(self) -> int:
        """Take out what may not be shown any more, and make one clip, the newest; how many are missing.

        Only one, as it takes a minute in which others may be found to be false alarms.

        Raises:
            ClipError, StoreError: a store is not available.
        """
        made = await self.public.all()
        withdrawn = [one.name for one in made if not await is_public(self.store.incidents, one.name)]
        if withdrawn:
            await self.public.remove(withdrawn)
            public_clips_total.labels("withdrawn").inc(len(withdrawn))
            log.info("public_clips_withdrawn", clips=[name.path for name in withdrawn])
        kept = [one for one in made if one.name not in set(withdrawn)]
        wanted = await self._wanted(kept)
        if wanted:
            await self._make(wanted[0])
        return len(wanted)

    async def _wanted(self, made: list[StoredClip]) -> list[ClipName]:
        """What is to be made, the newest first: that of an incident that goes on."""
        here = {one.name for one in made} | self.withheld
        since = utc_now() - timedelta(days=self.settings.public_clip_keep_days)
        is_full = sum(one.size for one in made) > _NEARLY_FULL * self.settings.public_clip_keep_gb * 1e9
        oldest = min((one.name.end for one in made), default=since) if is_full else since
        found = [one.name for one in await self.sealed.all() if one.name not in here and one.name.end > oldest]
        newest_first = sorted(found, key=lambda name: name.end, reverse=True)
        return [name for name in newest_first if await is_public(self.store.incidents, name)]

    async def _make(self, name: ClipName) -> None:
        sealed = await self.sealed.get(name)
        if sealed is None:
            return
        limit = Limit(self.settings.public_clip_timeout_s, self.stopping)
        try:
            with made_seconds.time():
                video = await asyncio.to_thread(self._redact, name, sealed, limit)
        except (RedactionError, SealError) as error:
            if not self.stopping.is_set():
                self.withheld.add(name)
                public_clips_total.labels("withheld").inc()
                log.warning("public_clip_withheld", camera=name.camera, clip=name.file, reason=str(error))
            return
        # It takes a minute, in which an operator may have found it to be a false alarm.
        if await is_public(self.store.incidents, name):
            await self.public.put(name, video)
            public_clips_total.labels("made").inc()
            log.info("public_clip_made", camera=name.camera, clip=name.file, bytes=len(video.mp4))

    def _redact(self, name: ClipName, sealed: bytes, limit: Limit) -> RedactedVideo:
        stated, mp4 = unseal_clip(sealed, read_key(self.settings.clip_private_key.reveal(), PRIVATE))
        if stated != name:
            raise RedactionError("it is the clip of another camera or time")
        return redact_video(mp4, self.searcher, limit)

    async def run(self, stopping: asyncio.Event) -> None:
        """Look again and again, until SIGTERM."""
        looking = asyncio.create_task(self._look_repeatedly())
        await asyncio.wait([looking, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
        # The thread sees it within one picture.
        self.stopping.set()
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking

    async def _look_repeatedly(self) -> None:
        while True:
            try:
                pause_s = 0.0 if await self.look() > 1 else _LOOK_EVERY_S
            except (ClipError, StoreError) as error:
                log.warning("public_clips_delayed", reason=str(error))
                pause_s = _RETRY_S
            await asyncio.sleep(pause_s)


def open_searcher(*, with_plates: bool) -> Searcher:
    """Load both networks.

    Raises:
        SettingsError: one of them is missing, so that nothing could be redacted.
    """
    try:
        from models.network import SCENE, Network, device_from_environment, threads_from_environment
        from models.registry import ModelError

        faces = FaceFinder()
        try:
            scene = Network(SCENE, threads_from_environment(), device_from_environment())
        except ModelError as error:
            raise SettingsError(str(error)) from None
    except (ImportError, RedactionError) as error:
        raise SettingsError(f"{error}: pip install 'bongsu[public-clips]'") from None
    return Searcher(faces, lambda image: scene.detect([image])[0], scene.labels, with_plates)


async def make_clips(settings: PublicClipSettings) -> None:
    """Make clips until SIGTERM or SIGINT.

    Raises:
        SettingsError, ClipError, SnapshotError, StoreUrlError: a setting is invalid, so waiting cannot help.
    """
    stopping = stop_event()
    sealed, public = Clips.open(settings.clip_url), PublicClips.open(settings.public_clip_url)
    searcher = open_searcher(with_plates=settings.redact_plates)
    async with open_stores() as (store, _):
        log.info("public_clips_started", labels=list(searcher.searched))
        await ClipMaker(settings, store, sealed, public, searcher).run(stopping)


def main() -> int:
    """Run as the environment says; the exit status."""
    os.nice(_NICE)
    try:
        settings = read(PublicClipSettings)
        telemetry.start("clips")
        asyncio.run(make_clips(settings))
    except (SettingsError, ClipError, SnapshotError, StoreUrlError) as error:
        print(f"bongsu clips: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
