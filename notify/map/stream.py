"""What is new, told to every reader: one poller per process asks the store, and all readers share what it says.

Each notice is encoded once and appended to one short log; a reader is a position in that log and little else, so
thousands of them cost what their connections do. Who falls behind the log's end is dropped, comes back and resumes.
`live.py` carries notices to readers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import msgspec
import structlog
from prometheus_client import Counter, Gauge

from functions.event import Hazard, utc_now
from notify.map.pipeline import PipelineFile
from notify.map.records import Camera, Incident, Post
from notify.map.store import Store, StoreError, Wanted
from notify.map.views import camera_feature, feed_item, incident_feature

log = structlog.get_logger()

readers_open = Gauge("bongsu_stream_readers", "Open live streams", multiprocess_mode="livesum")
readers_dropped_total = Counter(
    "bongsu_stream_readers_dropped_total", "Streams ended because their reader was too slow"
)

POLL_S = 0.1
PIPELINE_S = 1.0
# What has not changed is told again so often: readers hear that the line is alive, and who left is noticed.
BEAT_S = 5.0
_RETRY_S = 1.0
_LOG_LENGTH = 512
# A reader's first word: how soon to come back, and that the stream is open (some proxies wait for a first byte).
HELLO = b"retry: 1000\n: open\n\n"

Name = Literal["incident", "post", "camera", "pipeline"]


class TooManyReadersError(Exception):
    """The process serves as many streams as it may."""


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """Something that readers are told."""

    name: Name
    revision: int | None
    """What a reader resumes after; None for what is not resumed from."""
    data: bytes
    """JSON."""
    hazard: Hazard | None = None
    position: tuple[float, float] | None = None
    """Longitude and latitude of the incident that it is about."""

    def event(self) -> bytes:
        """It as a server-sent event."""
        # JSON has no line breaks outside of escapes, so one `data:` line holds it.
        number = b"" if self.revision is None else b"id: %d\n" % self.revision
        return b"%sevent: %s\ndata: %s\n\n" % (number, self.name.encode(), self.data)


@dataclass(slots=True, eq=False)
class Batch:
    """Notices that follow each other, shared by all readers that stand at the same place."""

    notices: tuple[Notice, ...]
    end: int
    _events: bytes = b""

    def events(self) -> bytes:
        """They as server-sent events, put together once."""
        if not self._events:
            self._events = b"".join(notice.event() for notice in self.notices)
        return self._events


@dataclass(slots=True, eq=False)
class Reader:
    """One open stream: where in the log it stands, and the last revision that it was told."""

    position: int
    last: int = 0
    is_dropped: bool = False
    """It ends at its next turn: it fell behind, or the process is leaving."""


class Hub:
    """Polls the store and serves the readers. Enter `running` before the first `read`."""

    def __init__(self, store: Store, pipeline: PipelineFile, *, public_url: str = "", readers_max: int = 512) -> None:
        self._store = store
        self._pipeline = pipeline
        self._public_url = public_url
        self._readers_max = readers_max
        self._readers: set[Reader] = set()
        self._open: dict[int, Incident] = {}
        self._tasks: list[asyncio.Task[None]] = []
        # The log holds every notice after revision `_since`, the last of them of revision `_last`.
        self._log: deque[Notice] = deque()
        self._begin = 0
        self._since: int | None = None
        self._last = 0
        self._batch: tuple[int, Batch] | None = None
        self._news = asyncio.Event()

    @property
    def is_alive(self) -> bool:
        """Whether readers are told what is new; False before `running`, and after a fault that nobody foresaw."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll until left; then every stream ends."""
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._report())]
        for task in self._tasks:
            task.add_done_callback(self._tell_fault)
        try:
            yield
        finally:
            self.end_all()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def end_all(self) -> None:
        """End every stream, as the process is leaving; readers come back and resume."""
        for reader in self._readers:
            reader.is_dropped = True
        self._wake()

    def open(self) -> Reader:
        """A place among the readers: from now on it misses nothing.

        Raises:
            TooManyReadersError: the process serves as many as it may.
        """
        if len(self._readers) >= self._readers_max:
            raise TooManyReadersError(f"{self._readers_max} readers are served already")
        reader = Reader(self._end)
        self._readers.add(reader)
        readers_open.set(len(self._readers))
        return reader

    def close(self, reader: Reader) -> None:
        """Give a place back. Idempotent."""
        self._readers.discard(reader)
        readers_open.set(len(self._readers))

    async def read(self, reader: Reader, after: int | None) -> AsyncGenerator[bytes]:
        """What happened after a revision and what happens now, each once, as server-sent events.

        Args:
            reader: from `open`; it is closed when this ends.
            after: revision to resume from; None begins with what comes next.
        """
        yield HELLO
        async with contextlib.aclosing(self.follow(reader, after)) as batches:
            async for batch in batches:
                yield batch.events()

    async def follow(self, reader: Reader, after: int | None) -> AsyncGenerator[Batch]:
        """As `read`, but as notices."""
        try:
            if after is None:
                reader.last = await self._store.revision()
            else:
                async for missed in self._resume(reader, after):
                    yield missed
            while not reader.is_dropped:
                news = self._news
                batch = self._next(reader)
                if batch is not None:
                    yield batch
                elif not reader.is_dropped:
                    await news.wait()
        except StoreError as error:
            # The reader comes back by itself and resumes.
            log.warning("stream_ended", reason=str(error))
        finally:
            self.close(reader)

    @property
    def _end(self) -> int:
        return self._begin + len(self._log)

    async def _resume(self, reader: Reader, after: int) -> AsyncIterator[Batch]:
        reader.last = after
        if self._since is not None and self._since <= after <= self._last:
            # As a rule it was here a moment ago: the log knows, and thousands at once ask the database nothing.
            for number, notice in enumerate(reversed(self._log), 1):
                if notice.revision is not None:
                    if notice.revision <= after:
                        break
                    reader.position = self._end - number
            return
        if after > await self._store.revision():
            # A number that was never given out: the database is another one now, so tell everything.
            reader.last = 0
        while items := (await self._store.changes(reader.last)).items:
            reader.last = items[-1].revision
            notices = self._notices(items)
            if notices:
                yield Batch(tuple(notices), reader.position)

    def _next(self, reader: Reader) -> Batch | None:
        """What a reader was not told yet; None if that is nothing."""
        if reader.is_dropped or reader.position == self._end:
            return None
        batch = self._batch_from(reader.position)
        reader.position = batch.end
        if reader.last:
            # Just resumed: what it read from the database may be in the log as well.
            fresh = tuple(one for one in batch.notices if one.revision is None or one.revision > reader.last)
            is_over = any(one.revision is not None for one in fresh)
            reader.last = 0 if is_over else reader.last
            if len(fresh) != len(batch.notices):
                return Batch(fresh, batch.end) if fresh else self._next(reader)
        return batch

    def _batch_from(self, position: int) -> Batch:
        if self._batch is None or self._batch[0] != position or self._batch[1].end != self._end:
            notices = tuple(self._log[number] for number in range(position - self._begin, len(self._log)))
            self._batch = position, Batch(notices, self._end)
        return self._batch[1]

    async def _poll(self) -> None:
        while True:
            try:
                if self._since is None:
                    quiet = timedelta(seconds=self._store.quiet_s)
                    recent = await self._store.incidents(Wanted(since=utc_now() - quiet, limit=10_000))
                    self._since = self._last = recent.revision
                    self._remember(recent.items)
                changes = await self._store.changes(self._last)
                if changes.revision < self._last:
                    # The database was replaced under us: readers come back and are told everything.
                    log.warning("revision_went_back", was=self._last, now=changes.revision)
                    self._forget()
                    continue
                self._last = changes.revision
                self._remember(changes.items)
                self._tell([*self._notices(changes.items), *self._notices_of_closing()])
                await asyncio.sleep(POLL_S)
            except StoreError as error:
                log.warning("poll_failed", reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _report(self) -> None:
        told: Any = None
        silent_s = 0.0
        while True:
            now = self._pipeline.read()
            seen = {name: value for name, value in now.items() if name != "at"}
            silent_s += PIPELINE_S
            if self._readers and (seen != told or silent_s >= BEAT_S):
                told, silent_s = seen, 0.0
                self._tell([Notice("pipeline", None, msgspec.json.encode(now))])
            await asyncio.sleep(PIPELINE_S)

    def _tell_fault(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Open streams would stay silent for ever; `/healthz` has the process replaced.
            log.error("live_stream_stopped", reason=f"{type(error).__name__}: {error}", exc_info=error)
            self.end_all()

    def _remember(self, items: Sequence[Incident | Post | Camera]) -> None:
        """Keep the incidents that readers were told are open: only those can be told to have closed."""
        now = utc_now()
        for item in items:
            if isinstance(item, Incident):
                self._open.pop(item.id, None)
                if item.is_open(now, self._store.quiet_s):
                    self._open[item.id] = item

    def _notices_of_closing(self) -> list[Notice]:
        """An incident closes because time passes: no row changes, so its notice has no revision to resume from."""
        now, quiet_s = utc_now(), self._store.quiet_s
        closed = [incident for incident in self._open.values() if not incident.is_open(now, quiet_s)]
        for incident in closed:
            del self._open[incident.id]
        return [_tell_of(incident, quiet_s, None) for incident in closed]

    def _tell(self, notices: Sequence[Notice]) -> None:
        if not notices:
            return
        self._log.extend(notices)
        while len(self._log) > _LOG_LENGTH:
            revision = self._log.popleft().revision
            self._begin += 1
            if revision is not None:
                self._since = revision
        self._drop_slow()
        self._wake()

    def _drop_slow(self) -> None:
        """Let those go who have not taken what the log holds no longer; they come back and resume."""
        slow = [reader for reader in self._readers if reader.position < self._begin]
        for reader in slow:
            reader.is_dropped = True
            self.close(reader)
            readers_dropped_total.inc()
        if slow:
            log.warning("readers_dropped", count=len(slow))

    def _forget(self) -> None:
        """Begin anew, as at the start."""
        self._begin, self._since, self._batch = self._end, None, None
        self._log.clear()
        self._open.clear()
        self.end_all()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _notices(self, items: Sequence[Incident | Post | Camera]) -> list[Notice]:
        return [notice for item in items if (notice := self._show(item)) is not None]

    def _show(self, item: Incident | Post | Camera) -> Notice | None:
        match item:
            case Incident():
                return _tell_of(item, self._store.quiet_s, item.revision)
            case Camera():
                return Notice("camera", item.revision, msgspec.json.encode(camera_feature(item)))
            case Post(channel="feed"):
                told = msgspec.json.encode(feed_item(item, self._public_url))
                return Notice("post", item.revision, told, item.incident.hazard, _position(item.incident))
            case _:
                return None


def _tell_of(incident: Incident, quiet_s: float, revision: int | None) -> Notice:
    data = msgspec.json.encode(incident_feature(incident, quiet_s))
    return Notice("incident", revision, data, incident.hazard, _position(incident))


def _position(incident: Incident) -> tuple[float, float]:
    return incident.place.lon, incident.place.lat
