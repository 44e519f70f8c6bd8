"""The embedded broker: one SQLite file shared by the processes of one machine; the default of `bongsu run`."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from functions.broker import sqlite_sql as sql
from functions.broker.base import DeadLetter, Depth, refuse_moving
from functions.broker.sqlite_consumer import SqliteConsumer
from functions.broker.sqlite_thread import SqliteThread
from functions.event import Message
from functions.topology import Queue


class SqliteBroker:
    """A broker in one file: WAL, leases that end with their worker, delayed retry, dead letters, bounded queues.

    One thread of this process owns the connection and commits requests in groups. No process that dies loses messages;
    a crash of the operating system may lose the last fraction of a second (`synchronous=NORMAL`).
    """

    def __init__(self, path: Path) -> None:
        """For `open` alone."""
        self._thread = SqliteThread(path)

    @classmethod
    async def open(cls, path: str | Path) -> SqliteBroker:
        """Open the file, creating it where it is missing.

        Raises:
            BrokerError: the file cannot be written, or is not a database.
        """
        broker = cls(Path(path).absolute())
        await broker._thread.start()
        return broker

    async def declare(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing; one that exists takes the limits given here.

        Raises:
            BrokerError: a queue moves what it drops to another, or the file cannot be written.
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

        await self._thread.do(declare)

    async def ensure(self, queues: Iterable[Queue]) -> None:
        """Create the queues that are missing."""
        await self.declare(queues)

    async def publish(self, *messages: Message) -> None:
        """Write the messages in one transaction; a body that goes to several queues is stored once.

        Raises:
            Unroutable: no queue is bound to a routing key; then none of these messages was stored.
            BrokerError: the file cannot be written.
        """
        await self._thread.do(lambda db: sql.publish(db, messages))

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], prefetch: int = 1) -> AsyncIterator[SqliteConsumer]:
        """Consume from these queues by leases, which are renewed until a message is settled.

        Raises:
            BrokerError: a queue was not declared.
        """
        await self._thread.do(lambda db: sql.require_queues(db, queues))
        consumer = SqliteConsumer(self._thread, tuple(queues), prefetch)
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

        return await self._thread.do(measure)

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

        return await self._thread.do(read)

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

        return await self._thread.do(replay)

    async def close(self) -> None:
        """End the broker's thread and close the file."""
        await self._thread.close()
