"""Polls the store for changes, and serves readers from a log of them; one per process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from api.pipeline import PipelineFile
from api.stream.log import Log, Reader
from api.stream.notices import HELLO, Batch, Notice, NoticeBuilder
from functions.event import utc_now
from store import Store, StoreError, Wanted
from store.records import Camera, Incident, Post

log = structlog.get_logger()

readers_open = Gauge("bongsu_stream_readers", "Open live streams", multiprocess_mode="livesum")
readers_dropped_total = Counter(
    "bongsu_stream_readers_dropped_total", "Streams ended because their reader was too slow"
)

POLL_S = 0.1
PIPELINE_S = 1.0
# The unchanged state is sent again this often, to keep connections alive and to notice readers that left.
BEAT_S = 5.0
_RETRY_S = 1.0


class TooManyReadersError(Exception):
    """The process serves its maximum number of streams."""


class Hub:
    """Polls the store and serves the readers. Enter `running` before the first `read`."""

    def __init__(self, store: Store, pipeline: PipelineFile, *, public_url: str = "", readers_max: int = 512) -> None:
        self._store = store
        self._pipeline = pipeline
        self._readers_max = readers_max
        self._readers: set[Reader] = set()
        self._open: dict[int, Incident] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._log = Log()
        self._builder = NoticeBuilder(store.quiet_s, public_url)
        self._news = asyncio.Event()

    @property
    def is_alive(self) -> bool:
        """Whether changes are sent to readers; False before `running`, and after an unexpected error."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    @property
    def revision(self) -> int:
        """The last revision that was sent to readers."""
        return self._log.last

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll while this context is open; at its end every stream ends."""
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._report())]
        for task in self._tasks:
            task.add_done_callback(self._log_failure)
        try:
            yield
        finally:
            self.end_all()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def end_all(self) -> None:
        """End every stream because the process stops; readers reconnect and resume."""
        for reader in self._readers:
            reader.is_dropped = True
        self._wake()

    def open(self) -> Reader:
        """Register a reader: from now on it misses nothing.

        Raises:
            TooManyReadersError: the process serves its maximum.
        """
        if len(self._readers) >= self._readers_max:
            raise TooManyReadersError(f"{self._readers_max} readers are served already")
        reader = Reader(self._log.end)
        self._readers.add(reader)
        readers_open.set(len(self._readers))
        return reader

    def close(self, reader: Reader) -> None:
        """Remove a reader. Idempotent."""
        self._readers.discard(reader)
        readers_open.set(len(self._readers))

    async def read(self, reader: Reader, after: int | None) -> AsyncGenerator[bytes]:
        """Changes after a revision and new changes, each once, as server-sent events.

        Args:
            reader: from `open`; it is closed when this ends.
            after: revision to resume after; None: only new changes.
        """
        yield HELLO
        async with contextlib.aclosing(self.follow(reader, after)) as batches:
            async for batch in batches:
                yield batch.events()

    async def follow(self, reader: Reader, after: int | None) -> AsyncGenerator[Batch]:
        """As `read`, but as notices."""
        try:
            # Without a revision it starts at the log's end: thousands of new readers cause no database query.
            if after is not None:
                async for missed in self._resume(reader, after):
                    yield missed
            while not reader.is_dropped:
                news = self._news
                batch = self._log.next(reader)
                if batch is not None:
                    yield batch
                elif not reader.is_dropped:
                    await news.wait()
        except StoreError as error:
            # The reader reconnects by itself and resumes.
            log.warning("stream_ended", reason=str(error))
        finally:
            self.close(reader)

    async def _resume(self, reader: Reader, after: int) -> AsyncIterator[Batch]:
        reader.last = after
        # Usually it was connected a moment ago, and the log has the changes: thousands at once cause no query.
        if self._log.resume(reader, after):
            return
        if after > await self._store.revisions.newest():
            # A revision that does not exist yet: the database was replaced, so send everything.
            reader.last = 0
        while True:
            # Changes after this query and before the log begins would be in neither: then query again.
            news, is_covered = self._news, self._log.since is not None
            while items := (await self._store.revisions.changes_after(reader.last)).items:
                reader.last = items[-1].revision
                notices = self._builder.build(items)
                if notices:
                    yield Batch(tuple(notices), reader.position)
            if is_covered or reader.is_dropped:
                return
            await news.wait()

    async def _poll(self) -> None:
        while True:
            try:
                if self._log.since is None:
                    quiet = timedelta(seconds=self._store.quiet_s)
                    recent = await self._store.incidents.find(Wanted(since=utc_now() - quiet, limit=10_000))
                    self._log.since = self._log.last = recent.revision
                    self._remember(recent.items)
                    self._wake()
                changes = await self._store.revisions.changes_after(self._log.last)
                if changes.revision < self._log.last:
                    # The database was replaced: readers reconnect and get everything.
                    log.warning("revision_went_back", was=self._log.last, now=changes.revision)
                    self._forget()
                    continue
                self._log.last = changes.revision
                self._remember(changes.items)
                self._announce([*self._builder.build(changes.items), *map(self._builder.build_closing, self._closed())])
                await asyncio.sleep(POLL_S)
            except StoreError as error:
                log.warning("poll_failed", reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _report(self) -> None:
        sent: Any = None
        silent_s = 0.0
        while True:
            now = self._pipeline.read()
            seen = {name: value for name, value in now.items() if name != "at"}
            silent_s += PIPELINE_S
            if self._readers and (seen != sent or silent_s >= BEAT_S):
                sent, silent_s = seen, 0.0
                self._announce([self._builder.build_pipeline(now)])
            await asyncio.sleep(PIPELINE_S)

    def _log_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Open streams would stay silent; `/healthz` makes the orchestrator replace the process.
            log.error("live_stream_stopped", reason=f"{type(error).__name__}: {error}", exc_info=error)
            self.end_all()

    def _remember(self, items: Sequence[Incident | Post | Camera]) -> None:
        """Remember the incidents that were sent as open, to send it when they close."""
        now = utc_now()
        for item in items:
            if isinstance(item, Incident):
                self._open.pop(item.id, None)
                if item.is_open(now, self._store.quiet_s):
                    self._open[item.id] = item

    def _closed(self) -> list[Incident]:
        """Incidents that have closed since the last call."""
        now, quiet_s = utc_now(), self._store.quiet_s
        closed = [incident for incident in self._open.values() if not incident.is_open(now, quiet_s)]
        for incident in closed:
            del self._open[incident.id]
        return closed

    def _announce(self, notices: Sequence[Notice]) -> None:
        if not notices:
            return
        self._log.append(notices)
        self._drop_slow()
        self._wake()

    def _drop_slow(self) -> None:
        """Drop readers that fell behind the log; they reconnect and resume."""
        slow = [reader for reader in self._readers if reader.position < self._log.begin]
        for reader in slow:
            reader.is_dropped = True
            self.close(reader)
            readers_dropped_total.inc()
        if slow:
            log.warning("readers_dropped", count=len(slow))

    def _forget(self) -> None:
        """Reset to the initial state."""
        self._log.forget()
        self._open.clear()
        self.end_all()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
