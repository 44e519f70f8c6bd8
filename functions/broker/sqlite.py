"""The embedded broker: one SQLite file shared by many processes of one machine; the default of `bongsu run`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue as thread_queue
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from functions.broker import sqlite_sql as sql
from functions.broker.base import BrokerError, DeadLetter, Depth, refuse_moving
from functions.event import Message
from functions.topology import Queue

T = TypeVar("T")

_BUSY_S = 10.0
"""How long a transaction waits for that of another process."""
_RENEW_S = 3.0
_POLL_S = 0.005
"""How often a waiting consumer looks whether another process has committed: one cheap PRAGMA."""
_SWEEP_S = 0.25
"""How often it looks for messages that became due by time alone: delayed retries, expired leases."""
_GROUP = 64
"""Operations committed together, at most: a commit costs more than what is in it."""


class SqliteBroker:
    """A broker in one file: WAL, leases that outlive no worker, delayed retry, dead letters, bounded queues.

    One thread of this process owns the connection and commits what is asked of it in groups. Durable against the death
    of any process; an operating system crash may lose the last fraction of a second (`synchronous=NORMAL`).
    """

    def __init__(self, path: Path) -> None:
        """For `open` alone."""
        self._path = path
        self._work: thread_queue.SimpleQueue[_Operation | None] = thread_queue.SimpleQueue()
        self._waiting: list[_Wait] = []
        self._held: set[int] = set()
        # Who leases: the pid tells others whether we live, the rest tells apart two brokers of one process.
        self._owner = os.getpid() << sql.OWNER_BITS | secrets.randbits(sql.OWNER_BITS)
        self._thread: threading.Thread | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: str | Path) -> SqliteBroker:
        """Open the file, creating it where it is missing.

        Raises:
            BrokerError: the file cannot be written or is no database.
        """
        broker = cls(Path(path).absolute())
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        broker._thread = threading.Thread(
            target=broker._serve,
            args=(lambda error: _call(loop, _settle, opened, None, error),),
            name="sqlite-broker",
            daemon=True,
        )
        broker._thread.start()
        await opened
        return broker

    async def declare(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing; one that exists takes the limits given here.

        Raises:
            BrokerError: a queue moves what it sheds, or the file cannot be written.
        """
        queues = tuple(queues)
        refuse_moving(queues)
        rows = [(q.name, q.routing_key, q.delivery_limit, q.max_length, q.ttl_s) for q in queues]

        def declare(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO queues (name, routing_key, delivery_limit, max_length, ttl_s) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET routing_key = excluded.routing_key, "
                "delivery_limit = excluded.delivery_limit, max_length = excluded.max_length, ttl_s = excluded.ttl_s",
                rows,
            )

        await self._do(declare)

    async def ensure(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing."""
        await self.declare(queues)

    async def publish(self, *messages: Message) -> None:
        """Write the messages in one transaction; a body that several queues take is kept once.

        Raises:
            Unroutable: no queue takes a routing key; then none of these messages was kept.
            BrokerError: the file cannot be written.
        """
        await self._do(lambda db: sql.publish(db, messages))

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], prefetch: int = 1) -> AsyncIterator[_SqliteConsumer]:
        """Take from these queues by leases, which are renewed until a message is settled.

        Raises:
            BrokerError: a queue was not declared.
        """
        await self._do(lambda db: sql.require_queues(db, queues))
        consumer = _SqliteConsumer(self, tuple(queues), prefetch)
        try:
            yield consumer
        finally:
            await consumer.leave()

    async def depth(self, queue: str) -> Depth:
        """Count one queue's messages.

        Raises:
            BrokerError: it was not declared.
        """

        def measure(db: sqlite3.Connection) -> Depth:
            sql.require_queues(db, [queue])
            now = time.time()
            sql.expire(db, [queue], now)
            ready, unacked = db.execute(
                "SELECT count(*) FILTER (WHERE lease_until IS NULL), count(*) FILTER (WHERE lease_until IS NOT NULL) "
                "FROM messages WHERE queue = ?",
                (queue,),
            ).fetchone()
            (published,) = db.execute("SELECT published FROM queues WHERE name = ?", (queue,)).fetchone()
            return Depth(ready, unacked, published)

        return await self._do(measure)

    async def dead_letters(self, queue: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Dead letters of one queue or of all, oldest first, at most `limit`."""

        def read(db: sqlite3.Connection) -> list[DeadLetter]:
            rows = db.execute(
                "SELECT dead.id, queue, reason, dead_at, attempts, routing_key, headers, body FROM dead "
                "JOIN bodies ON bodies.id = body_id WHERE ?1 IS NULL OR queue = ?1 ORDER BY dead.id LIMIT ?2",
                (queue, limit),
            )
            return [
                DeadLetter(
                    str(id_), name, reason, datetime.fromtimestamp(at, UTC), attempts, Message(key, body, json.loads(h))
                )
                for id_, name, reason, at, attempts, key, h, body in rows
            ]

        return await self._do(read)

    async def replay(self, ids: Iterable[str]) -> int:
        """Put dead letters back into their queues as new, at their end; returns how many there were."""
        chosen = [int(i) for i in ids if i.isdecimal()]

        def replay(db: sqlite3.Connection) -> int:
            moved = 0
            for id_ in chosen:
                moved += db.execute(
                    "INSERT INTO messages (queue, body_id, attempts, ready_at, expires_at) "
                    "SELECT queue, body_id, 0, 0, ?1 + (SELECT ttl_s FROM queues WHERE name = queue) "
                    "FROM dead WHERE id = ?2",
                    (time.time(), id_),
                ).rowcount
                db.execute("DELETE FROM dead WHERE id = ?", (id_,))
            return moved

        return await self._do(replay)

    async def close(self) -> None:
        """End the broker's thread and close the file."""
        if self._closed:
            return
        self._closed = True
        self._work.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # What follows runs partly on the loop (`_do`), partly on the broker's own thread (all else).

    async def _do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Have it done in a transaction."""
        return await self._ask(action, is_note=False)

    async def _note(self, action: Callable[[], None]) -> None:
        """Change what the thread knows of consumers: in no transaction, so a file that is locked cannot hinder it."""
        await self._ask(lambda _: action(), is_note=True)

    async def _ask(self, action: Callable[[sqlite3.Connection], T], *, is_note: bool) -> T:
        if self._closed:
            raise BrokerError(f"broker file {self._path} is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._work.put(_Operation(action, is_note, loop, future))
        return await future

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
                # The times in the file are those of the wall clock, which processes share, and which may be set back.
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
        # For its owner alone: it holds frames that nobody has redacted. SQLite gives the WAL the same rights.
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
            _call(wait.loop, _settle, wait.future, None, error)

    def _explain(self, error: Exception) -> BrokerError:
        text = str(error)
        if "disk is full" in text:
            return BrokerError(f"broker file {self._path}: the disk is full: free some space, nothing was lost so far")
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
        _call(self.loop, _settle, self.future, value, error)


@dataclass(slots=True, eq=False)
class _Wait:
    """A consumer with empty hands."""

    queues: tuple[str, ...]
    limit: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    deliver: Callable[[list[sql.Taken]], None]


@dataclass(slots=True)
class _SqliteDelivery:
    broker: SqliteBroker
    consumer: _SqliteConsumer
    taken: sql.Taken

    @property
    def queue(self) -> str:
        return self.taken.queue

    @property
    def message(self) -> Message:
        return self.taken.message

    @property
    def attempt(self) -> int:
        return self.taken.attempt

    @property
    def deaths(self) -> int:
        return self.taken.deaths

    async def ack(self) -> None:
        await self._answer(sql.ack)

    async def retry(self, reason: str, after_s: float) -> None:
        await self._answer(lambda db, id_: sql.retry(db, id_, reason, after_s))

    async def reject(self, reason: str) -> None:
        await self._answer(lambda db, id_: sql.bury(db, id_, reason))

    async def release(self) -> None:
        await self._answer(sql.release)

    async def _answer(self, action: Callable[[sqlite3.Connection, int], None]) -> None:
        id_, owner = self.taken.id, self.broker._owner

        def answer(db: sqlite3.Connection) -> None:
            # If the lease was lost (this process slept through it) the message is another worker's now.
            owned = db.execute("SELECT 1 FROM messages WHERE id = ? AND lease_by = ?", (id_, owner)).fetchone()
            self.broker._held.discard(id_)
            if owned:
                action(db, id_)

        await self.broker._do(answer)
        self.consumer.unanswered.pop(id_, None)


@dataclass(slots=True)
class _SqliteConsumer:
    broker: SqliteBroker
    queues: tuple[str, ...]
    prefetch: int
    buffer: list[sql.Taken] = field(default_factory=list)
    unanswered: dict[int, _SqliteDelivery] = field(default_factory=dict)
    wait: _Wait | None = None

    def get_nowait(self) -> _SqliteDelivery | None:
        return self.unanswered[self.buffer.pop(0).id] if self.buffer else None

    async def get(self, timeout_s: float | None = None) -> _SqliteDelivery | None:
        if not self.buffer and not await self._fill(timeout_s):
            return None
        return self.unanswered[self.buffer.pop(0).id]

    async def resize(self, prefetch: int) -> None:
        self.prefetch = prefetch
        surplus, self.buffer = self.buffer[prefetch:], self.buffer[:prefetch]
        for taken in surplus:
            await self.unanswered[taken.id].release()

    async def leave(self) -> None:
        # A cancelled `get` may still be waiting; what is given to it before it is withdrawn is released below.
        await self.broker._note(self._withdraw)
        try:
            for delivery in list(self.unanswered.values()):
                await delivery.release()
        finally:
            # What could not be given back is no longer renewed, so its lease runs out.
            await self.broker._note(lambda: self.broker._held.difference_update(self.unanswered))

    async def _fill(self, timeout_s: float | None) -> bool:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        room = max(1, self.prefetch - len(self.unanswered))

        def accept(taken: list[sql.Taken]) -> None:
            for t in taken:
                self.unanswered[t.id] = _SqliteDelivery(self.broker, self, t)
            self.buffer += taken
            _settle(future, None, None)

        self.wait = _Wait(self.queues, room, loop, future, accept)
        await self.broker._note(self._enlist)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(future)
        except TimeoutError:
            # Withdraw on the broker's thread: a delivery that crossed with the timeout is then in the buffer.
            await self.broker._note(self._withdraw)
        return bool(self.buffer)

    def _enlist(self) -> None:
        if self.wait is not None:
            self.broker._waiting.append(self.wait)

    def _withdraw(self) -> None:
        if self.wait in self.broker._waiting:
            self.broker._waiting.remove(self.wait)
        self.wait = None


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: Any) -> None:
    # The loop may have ended without closing its broker; leases then see to it that nothing is lost.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
