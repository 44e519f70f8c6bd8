"""The live stream: one poller per process asks the store what is new and fans it out to every reader."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter, Gauge

from functions.event import utc_now
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
HEARTBEAT_S = 10.0
_RETRY_S = 1.0
_QUEUE_LENGTH = 512
# A reader's first word: how soon to come back, and that the stream is open (some proxies wait for a first byte).
_HELLO = b"retry: 1000\n: open\n\n"
_HEARTBEAT = b": still here\n\n"


class TooManyReadersError(Exception):
    """The process serves as many streams as it may."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One server-sent event on the wire; `revision` is its id, None for one that is not resumed from."""

    data: bytes
    revision: int | None


@dataclass(slots=True, eq=False)
class Reader:
    """One open stream: what waits for it, and whether it fell too far behind."""

    queue: asyncio.Queue[Notice | None] = field(default_factory=lambda: asyncio.Queue(_QUEUE_LENGTH))
    is_dropped: bool = False

    def offer(self, notice: Notice) -> bool:
        """Queue a notice; False if the reader is too slow for it."""
        try:
            self.queue.put_nowait(notice)
        except asyncio.QueueFull:
            self.is_dropped = True
        return not self.is_dropped

    def end(self) -> None:
        """Have the stream end at its next turn."""
        self.is_dropped = True
        with contextlib.suppress(asyncio.QueueFull):
            self.queue.put_nowait(None)


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
            reader.end()

    def open(self) -> Reader:
        """A place among the readers: from now on it misses nothing.

        Raises:
            TooManyReadersError: the process serves as many as it may.
        """
        if len(self._readers) >= self._readers_max:
            raise TooManyReadersError(f"{self._readers_max} readers are served already")
        reader = Reader()
        self._readers.add(reader)
        readers_open.set(len(self._readers))
        return reader

    async def read(self, reader: Reader, after: int | None) -> AsyncIterator[bytes]:
        """What happened after a revision and what happens now, each once, as server-sent events.

        Args:
            reader: from `open`; it is closed when this ends.
            after: revision to resume from; None begins with what comes next.
        """
        try:
            yield _HELLO
            last = after if after is not None else await self._store.revision()
            if after is not None:
                if after > await self._store.revision():
                    # A number that was never given out: the database is another one now, so tell everything.
                    last = 0
                async for notice in self._backlog(last):
                    last = notice.revision or last
                    yield notice.data
            async for data in self._live(reader, last):
                yield data
        except StoreError as error:
            # The reader comes back by itself and resumes.
            log.warning("stream_ended", reason=str(error))
        finally:
            self._let_go(reader)

    async def _live(self, reader: Reader, last: int) -> AsyncIterator[bytes]:
        while not reader.is_dropped:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    notice = await reader.queue.get()
            except TimeoutError:
                yield _HEARTBEAT
                continue
            if notice is None:
                return
            if notice.revision is None or notice.revision > last:
                last = notice.revision or last
                yield notice.data

    async def _backlog(self, after: int) -> AsyncIterator[Notice]:
        while True:
            changes = await self._store.changes(after)
            for notice in self._notices(changes.items):
                yield notice
            if not changes.items or changes.items[-1].revision == after:
                return
            after = changes.items[-1].revision

    async def _poll(self) -> None:
        last: int | None = None
        while True:
            try:
                if last is None:
                    quiet = timedelta(seconds=self._store.quiet_s)
                    recent = await self._store.incidents(Wanted(since=utc_now() - quiet, limit=10_000))
                    last = recent.revision
                    self._remember(recent.items)
                changes = await self._store.changes(last)
                if changes.revision < last:
                    # The database was replaced under us; resume at what it holds.
                    log.warning("revision_went_back", was=last, now=changes.revision)
                last = changes.revision
                self._remember(changes.items)
                self._send(self._notices(changes.items))
                self._send(self._notices_of_closing())
                await asyncio.sleep(POLL_S)
            except StoreError as error:
                log.warning("poll_failed", reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _report(self) -> None:
        while True:
            if self._readers:
                self._send([_notice("pipeline", self._pipeline.read(), None)])
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
            if isinstance(item, Incident) and item.is_open(now, self._store.quiet_s):
                self._open[item.id] = item

    def _notices_of_closing(self) -> list[Notice]:
        """An incident closes because time passes: no row changes, so its notice has no revision to resume from."""
        now, quiet_s = utc_now(), self._store.quiet_s
        closed = [incident for incident in self._open.values() if not incident.is_open(now, quiet_s)]
        for incident in closed:
            del self._open[incident.id]
        return [_notice("incident", incident_feature(incident, quiet_s, now), None) for incident in closed]

    def _send(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            for reader in list(self._readers):
                if not reader.offer(notice):
                    self._let_go(reader)
                    readers_dropped_total.inc()
                    log.warning("reader_dropped", waiting=reader.queue.qsize())

    def _let_go(self, reader: Reader) -> None:
        self._readers.discard(reader)
        readers_open.set(len(self._readers))

    def _notices(self, items: Sequence[Incident | Post | Camera]) -> list[Notice]:
        return [notice for item in items if (notice := self._show(item)) is not None]

    def _show(self, item: Incident | Post | Camera) -> Notice | None:
        match item:
            case Incident():
                return _notice("incident", incident_feature(item, self._store.quiet_s), item.revision)
            case Camera():
                return _notice("camera", camera_feature(item), item.revision)
            case Post(channel="feed"):
                return _notice("post", feed_item(item, self._public_url), item.revision)
            case _:
                return None


def _notice(name: str, data: Any, revision: int | None) -> Notice:
    # JSON has no line breaks outside of escapes, so one `data:` line holds it.
    number = b"" if revision is None else b"id: %d\n" % revision
    return Notice(b"%sevent: %s\ndata: %s\n\n" % (number, name.encode(), msgspec.json.encode(data)), revision)
