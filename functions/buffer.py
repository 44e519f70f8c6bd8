"""The edge's buffer: events that cannot be published while the broker is unreachable, in files, bounded by age and
size."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog
from prometheus_client import Counter, Gauge

from functions.broker import Broker, TooLarge, Unroutable
from functions.event import DecodeError, Event, decode, encode, utc_now
from functions.settings import Settings, SettingsError

log = structlog.get_logger()

_STAMP = "[0-9]" * 20
"""Our files' names begin with the nanoseconds of capture; other files in the folder are not ours."""
LATE_S = 30.0
"""An event published this long after its capture is marked late."""
_WRITING_S = 60.0
"""Writing one event never takes this long."""

kept_total = Counter("bongsu_buffer_kept_total", "Events put into the buffer because the broker was unreachable")
dropped_total = Counter("bongsu_buffer_dropped_total", "Events lost from the buffer", ["reason"])
waiting = Gauge("bongsu_buffer_events", "Events that wait in the buffer", multiprocess_mode="mostrecent")
waiting_bytes = Gauge("bongsu_buffer_bytes", "Size of what waits in the buffer", multiprocess_mode="mostrecent")


class EventBuffer:
    """A folder of events, in the order of their capture. It survives its process, but not a power cut."""

    def __init__(self, folder: Path, *, max_bytes: int, max_age_s: float) -> None:
        """Use this folder; events that an earlier process left in it are kept."""
        # Its frames are unredacted: no other user of this machine may read them.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._measure()

    @classmethod
    def of(cls, settings: Settings) -> EventBuffer | None:
        """The buffer that the settings name, if they name one.

        Raises:
            SettingsError: the folder cannot be used.
        """
        if not settings.buffer_dir:
            return None
        folder = Path(settings.buffer_dir)
        try:
            return cls(folder, max_bytes=int(settings.buffer_mb * 1e6), max_age_s=settings.buffer_age_s)
        except OSError as error:
            raise SettingsError(f"BONGSU_BUFFER_DIR: {settings.buffer_dir!r}: {error.strerror}") from None

    def __len__(self) -> int:
        return len(self._files())

    def put(self, event: Event) -> bool:
        """Keep an event; the same event again replaces the first. Returns whether it could be kept."""
        mark = hashlib.sha256(f"{event.type} {event.id}".encode()).hexdigest()[:16]
        known = next(self._folder.glob(f"*-{mark}.event"), None)
        path = known or self._folder / f"{max(0, int(event.time.timestamp() * 1e9)):020d}-{mark}.event"
        partial = path.with_suffix(".partial")
        try:
            # Written under another name, then renamed: a reader never sees half an event.
            partial.touch(mode=0o600)
            partial.write_bytes(encode(event).body)
            partial.replace(path)
        except OSError as error:
            # Half an event is useless, and its size would not be counted, so it must not stay.
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            dropped_total.labels("disk").inc()
            log.error("event_lost", event_id=event.id, event_type=event.type, reason=f"buffer: {error.strerror}")
            return False
        kept_total.inc()
        self.prune()
        return True

    def prune(self) -> None:
        """Drop events that are too old, then the oldest while the buffer is too large."""
        files = self._files()
        sizes = {path: _size(path) for path in files}
        total = sum(sizes.values())
        for path in files:
            if _age_s(path) > self._max_age_s:
                self._drop(path, "age")
            elif total > self._max_bytes:
                self._drop(path, "size")
            else:
                break
            total -= sizes[path]
        for partial in self._folder.glob(f"{_STAMP}-*.partial"):
            # Left by a process that was killed, unless another process that shares the folder is writing it now.
            if time.time() - _written_at(partial) > _WRITING_S:
                partial.unlink(missing_ok=True)
        self._measure()

    async def flush(self, broker: Broker, limit: int | None = None) -> int:
        """Publish events, oldest first, at most `limit`; each is removed once the broker has it. Returns how many.

        Events without a queue stay in the buffer, and do not delay the others.

        Raises:
            BrokerError: the broker became unreachable again; the rest stays.
        """
        self.prune()
        published = 0
        unroutable: set[str] = set()
        for path, event in self._read():
            if published == limit:
                break
            if event.type in unroutable:
                continue
            is_late = (utc_now() - event.time).total_seconds() > LATE_S
            try:
                await broker.publish(encode(msgspec.structs.replace(event, late=event.late or is_late)))
            except Unroutable as error:
                unroutable.add(event.type)
                log.warning("buffer_held_back", event_type=event.type, reason=str(error))
                continue
            except TooLarge as error:
                # It would be refused at every try, and block the events behind it.
                log.error("event_lost", event_id=event.id, event_type=event.type, reason=f"buffer: {error}")
                self._drop(path, "too_large")
                continue
            path.unlink(missing_ok=True)
            published += 1
        self._measure()
        if published:
            log.info("buffer_published", events=published, left=len(self))
        return published

    def _read(self) -> Iterator[tuple[Path, Event]]:
        for path in self._files():
            try:
                yield path, decode(path.read_bytes())
            except FileNotFoundError:
                continue  # another replica on this node was faster
            except (OSError, DecodeError) as error:
                log.error("event_lost", reason=f"buffer: {error}")
                self._drop(path, "unreadable")

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_STAMP}-*.event"))

    def _drop(self, path: Path, reason: str) -> None:
        path.unlink(missing_ok=True)
        dropped_total.labels(reason).inc()
        log.warning("buffer_dropped", reason=reason)

    def _measure(self) -> None:
        files = self._files()
        waiting.set(len(files))
        waiting_bytes.set(sum(map(_size, files)))


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return math.inf


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _age_s(path: Path) -> float:
    return time.time() - int(path.name.partition("-")[0]) / 1e9
