"""The sealed clips of a node's cameras, in a folder: until a hazard is confirmed, or they are too old or too many."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from functions.clip import SUFFIX, ClipName, is_camera, seal_clip
from functions.event import utc_now
from functions.files import replace_file
from functions.settings import SettingsError
from motion.clip import CLIPS, Clip

log = structlog.get_logger()

_PRUNED_EVERY_S = 60.0


class ClipFolder:
    """A folder for each camera. Nobody on the node can open what is in it."""

    def __init__(self, folder: Path, public_keys: Sequence[bytes], *, camera_bytes: int, max_age: timedelta) -> None:
        """Use this folder, created for its owner alone if it is missing.

        Args:
            folder: its place; clips that an earlier process left in it are kept.
            public_keys: clips are sealed for their private keys.
            camera_bytes: the most that is kept of one camera.
            max_age: clips that ended longer ago are deleted.

        Raises:
            SettingsError: the folder or the key cannot be used.
        """
        try:
            from cryptography.hazmat.primitives import hpke  # noqa: F401 - before the first clip is lost
        except ImportError as error:
            raise SettingsError(f"BONGSU_CLIP_DIR needs cryptography: pip install 'bongsu[clips]' ({error})") from None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"BONGSU_CLIP_DIR: {folder}: {error.strerror}: name a folder to write to") from None
        self._folder = folder
        self._keys = public_keys
        self._camera_bytes = camera_bytes
        self._max_age = max_age
        self._pruned_at_s = float("-inf")

    def put(self, clip: Clip) -> None:
        """Seal and store a clip, and make room for it. A failure is logged and counted, not raised."""
        sealed = seal_clip(clip.name, clip.mp4, *self._keys)
        path = self._folder / clip.name.path
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._make_room(clip.name.camera, len(sealed))
            replace_file(path, sealed, is_synced=False)
        except OSError as error:
            CLIPS.labels(clip.name.camera, "failed").inc()
            log.error("clip_not_kept", camera=clip.name.camera, reason=error.strerror)
            return
        CLIPS.labels(clip.name.camera, "recorded").inc()
        seconds = round((clip.name.end - clip.name.start).total_seconds(), 1)
        log.info("clip_recorded", camera=clip.name.camera, seconds=seconds, bytes=len(sealed))
        self.prune()

    def find(self, camera: str, since: datetime, until: datetime) -> list[ClipName]:
        """The clips of a camera that show any moment of that time, oldest first."""
        return [name for name in self._names(camera) if name.meets(since, until)]

    def cameras(self) -> list[str]:
        """The cameras that have clips here."""
        try:
            return sorted(path.name for path in self._folder.iterdir() if path.is_dir() and is_camera(path.name))
        except OSError:
            return []

    def read(self, name: ClipName) -> bytes | None:
        """A sealed clip; None if it was deleted."""
        try:
            return (self._folder / name.path).read_bytes()
        except OSError:
            return None

    def remove(self, names: Collection[ClipName]) -> None:
        """Delete clips."""
        for name in names:
            try:
                (self._folder / name.path).unlink(missing_ok=True)
            except OSError as error:
                log.warning("clip_not_deleted", camera=name.camera, reason=error.strerror)

    def prune(self) -> None:
        """Delete clips that are too old, at most once a minute."""
        if time.monotonic() - self._pruned_at_s < _PRUNED_EVERY_S:
            return
        self._pruned_at_s = time.monotonic()
        since = utc_now() - self._max_age
        for camera in self.cameras():
            self.remove([name for name in self._names(camera) if name.end < since])

    def _make_room(self, camera: str, size: int) -> None:
        kept = [(name, self._size(name)) for name in self._names(camera)]
        surplus = sum(one for _, one in kept) + size - self._camera_bytes
        for name, one in kept:
            if surplus <= 0:
                return
            self.remove([name])
            surplus -= one

    def _names(self, camera: str) -> list[ClipName]:
        found = (ClipName.parse(f"{camera}/{path.name}") for path in (self._folder / camera).glob(f"*{SUFFIX}"))
        return sorted(name for name in found if name is not None)

    def _size(self, name: ClipName) -> int:
        try:
            return (self._folder / name.path).stat().st_size
        except OSError:
            return 0
