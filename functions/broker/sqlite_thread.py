"""The thread that owns the connection of a `SqliteBroker`: its transactions, leases and waiting consumers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue as thread_queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from functions.broker import sqlite_sql as sql
from functions.broker.base import BrokerError

T = TypeVar("T")

_BUSY_S = 10.0
"""How long a transaction waits for another process's transaction."""
_RENEW_S = 3.0
_POLL_S = 0.005
"""How often a waiting consumer checks whether another process has committed: one cheap PRAGMA."""
_SWEEP_S = 0.25
"""How often it looks for messages that became due by time alone: delayed retries, expired leases."""
_GROUP = 64
"""The most operations in one commit: a commit costs more than its operations."""


@dataclass(slots=True, eq=False)
class Wait:
    """A consumer that waits for a message."""

    queues: tuple[str, ...]
    limit: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    deliver: Callable[[list[sql.LeasedMessage]], None]


class SqliteThread:
    """The one thread of this process that owns the connection; it commits requests in groups."""

    def __init__(self, path: Path) -> None:
        """A thread for the file at `path`, once `start` is called."""
        self._path = path
        self._work: thread_queue.SimpleQueue[_Operation | None] = thread_queue.SimpleQueue()
        self._waiting: list[Wait] = []
        self._held: set[int] = set()
        # The owner of our leases: the pid shows others whether we are alive, the rest distinguishes our brokers.
        self._owner = os.getpid() << sql.OWNER_BITS | secrets.randbits(sql.OWNER_BITS)
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def owner(self) -> int:
        """The owner of the leases that are taken here."""
        return self._owner

    async def start(self) -> None:
        """Open the file, creating it where it is missing.

        Raises:
            BrokerError: the file cannot be written, or is not a database.
        """
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._serve,
            args=(lambda error: _call(loop, settle, opened, None, error),),
            name="sqlite-broker",
            daemon=True,
        )
        self._thread.start()
        await opened

    async def close(self) -> None:
        """End the thread and close the file."""
        if self._closed:
            return
        self._closed = True
        self._work.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation in a transaction on the thread."""
        return await self._ask(action, is_note=False)

    async def note(self, action: Callable[[], None]) -> None:
        """Change what the thread knows about consumers; outside any transaction, so a locked file cannot delay it."""
        await self._ask(lambda _: action(), is_note=True)

    async def _ask(self, action: Callable[[sqlite3.Connection], T], *, is_note: bool) -> T:
        if self._closed:
            raise BrokerError(f"broker file {self._path} is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._work.put(_Operation(action, is_note, loop, future))
        return await future

    # The methods below run on the thread itself: within an operation of `do` or `note`, or in its own loop.

    def enlist(self, wait: Wait) -> None:
        """Serve this consumer as soon as there is a message for it."""
        self._waiting.append(wait)

    def withdraw(self, wait: Wait | None) -> None:
        """Stop serving this consumer, if it still waits."""
        if wait in self._waiting:
            self._waiting.remove(wait)

    def stop_renewing(self, ids: Iterable[int]) -> None:
        """Stop renewing the leases of these messages."""
        self._held.difference_update(ids)

    def _serve(self, opened: Callable[[BrokerError | None], object]) -> None:
        try:
            db = self._open()
        except (sqlite3.Error, OSError, BrokerError) as error:
            opened(self._explain(error))
            return
        opened(None)
        version = 0
        swept_at = renewed_at = 0.0
        running = True
        while running:
            try:
                first = self._work.get(timeout=_POLL_S if self._waiting else _RENEW_S / 2)
            except thread_queue.Empty:
                batch: list[_Operation] = []
            else:
                batch, running = self._collect(first)
            try:
                self._run(db, batch)
                # Times in the file are by the wall clock, which all processes share; it may be set back.
                ticks, now = time.monotonic(), time.time()
                if self._held and ticks - renewed_at > _RENEW_S:
                    self._renew(db, now)
                    renewed_at = ticks
                # data_version moves when another process commits; our own commits are in `batch`.
                seen: int = db.execute("PRAGMA data_version").fetchone()[0]
                if self._waiting and (batch or seen != version or ticks - swept_at > _SWEEP_S):
                    version, swept_at = seen, ticks
                    self._serve_waiting(db, now)
            except sqlite3.Error as error:
                self._fail_waiting(self._explain(error))
        self._fail_waiting(BrokerError(f"broker file {self._path} is closed"))
        db.close()

    def _collect(self, first: _Operation | None) -> tuple[list[_Operation], bool]:
        batch: list[_Operation] = []
        operation = first
        while operation is not None:
            batch.append(operation)
            if len(batch) == _GROUP:
                return batch, True
            try:
                operation = self._work.get_nowait()
            except thread_queue.Empty:
                return batch, True
        return batch, False

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only its owner may read it, as it holds unredacted frames. SQLite gives the WAL the same mode.
        self._path.touch(mode=0o600)
        db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        sql.prepare(db)
        return db

    def _run(self, db: sqlite3.Connection, batch: list[_Operation]) -> None:
        for note in (o for o in batch if o.is_note):
            note.settle(note.action(db), None)
        batch = [o for o in batch if not o.is_note]
        if not batch:
            return
        results: list[tuple[_Operation, Any, BaseException | None]] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            for operation in batch:
                results.append(self._run_one(db, operation))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            explained = self._explain(error)
            results = [(operation, None, explained) for operation in batch]
        for operation, value, failure in results:
            operation.settle(value, failure)

    @staticmethod
    def _run_one(db: sqlite3.Connection, operation: _Operation) -> tuple[_Operation, Any, BaseException | None]:
        # Operations check before they write, so one that raises has written nothing to the shared transaction.
        try:
            return operation, operation.action(db), None
        except sqlite3.Error:
            raise
        except Exception as error:
            return operation, None, error

    def _renew(self, db: sqlite3.Connection, now: float) -> None:
        db.executemany(
            "UPDATE messages SET lease_until = ? WHERE id = ? AND lease_by = ?",
            [(now + sql.LEASE_S, id_, self._owner) for id_ in self._held],
        )

    def _serve_waiting(self, db: sqlite3.Connection, now: float) -> None:
        self._waiting = [w for w in self._waiting if not w.future.done()]
        for wait in list(self._waiting):
            if not sql.has_work(db, wait.queues, now):
                continue
            db.execute("BEGIN IMMEDIATE")
            try:
                taken = sql.take(db, wait.queues, wait.limit, self._owner, now)
                db.execute("COMMIT")
            except sqlite3.Error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if taken:
                self._held.update(t.id for t in taken)
                self._waiting.remove(wait)
                _call(wait.loop, wait.deliver, taken)

    def _fail_waiting(self, error: BrokerError) -> None:
        failed, self._waiting = self._waiting, []
        for wait in failed:
            _call(wait.loop, settle, wait.future, None, error)

    def _explain(self, error: Exception) -> BrokerError:
        text = str(error)
        if "disk is full" in text:
            return BrokerError(
                f"broker file {self._path}: the disk is full: free some space; nothing has been lost so far"
            )
        if "not a database" in text:
            return BrokerError(f"broker file {self._path} is not a broker database: move it away or set another path")
        return BrokerError(f"broker file {self._path}: {text}")


@dataclass(frozen=True, slots=True)
class _Operation:
    action: Callable[[sqlite3.Connection], Any]
    is_note: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def settle(self, value: Any, error: BaseException | None) -> None:
        _call(self.loop, settle, self.future, value, error)


def settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    """Complete a future with a value or an error, on its own loop, unless it is done."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: Any) -> None:
    # The loop may have ended without closing its broker; nothing is lost, because the leases expire.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)
