"""The statements of the embedded broker; `sqlite.py` calls them on its own thread, inside its transactions."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from functions.broker.base import BrokerError, Unroutable, shed_total
from functions.event import Message
from functions.topology import DELAYS_S

LEASE_S = 10.0
"""A worker that stops renewing (killed, machine asleep) loses what it holds after this long."""
OWNER_BITS = 20
"""A lease's owner is a process id, plus this many bits to distinguish brokers of one process."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS queues (
  name TEXT PRIMARY KEY, routing_key TEXT NOT NULL, delivery_limit INTEGER, max_length INTEGER, ttl_s REAL,
  published INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS queues_by_key ON queues (routing_key);
-- Bodies are apart from messages: SQLite rewrites a whole row on update, and one body may lie in many queues.
CREATE TABLE IF NOT EXISTS bodies (
  id INTEGER PRIMARY KEY AUTOINCREMENT, routing_key TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body_id INTEGER NOT NULL, attempts INTEGER NOT NULL,
  ready_at REAL NOT NULL, expires_at REAL, lease_until REAL, lease_by INTEGER, deaths INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS messages_ready ON messages (queue, id) WHERE lease_until IS NULL;
CREATE INDEX IF NOT EXISTS messages_leased ON messages (queue, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX IF NOT EXISTS messages_by_body ON messages (body_id);
CREATE TABLE IF NOT EXISTS dead (
  id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body_id INTEGER NOT NULL, attempts INTEGER NOT NULL,
  reason TEXT NOT NULL, dead_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS dead_by_body ON dead (body_id);
"""

# No retry waits longer than the last delay; one that seems to was parked before the clock was set back: it is due.
_IS_DUE = f"(ready_at <= ?2 OR ready_at > ?2 + {DELAYS_S[-1]})"

_FORGET_BODY = """
DELETE FROM bodies WHERE id = ?1
  AND NOT EXISTS (SELECT 1 FROM messages WHERE body_id = ?1) AND NOT EXISTS (SELECT 1 FROM dead WHERE body_id = ?1)
"""


MIGRATIONS = (
    "ALTER TABLE queues ADD COLUMN published INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE messages ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0",
)
"""Migrations: number n turns a file of version n into version n + 1; `SCHEMA` is the final result."""


@dataclass(frozen=True, slots=True)
class LeasedMessage:
    """A message that was leased to a consumer."""

    id: int
    queue: str
    attempt: int
    deaths: int
    message: Message


def prepare(db: sqlite3.Connection) -> None:
    """Create the tables of a new file, or upgrade those of an older one; several processes may do so at once.

    Raises:
        BrokerError: the file is of a newer version.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        is_new = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'queues'").fetchone() is None
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise BrokerError("it was written by a newer version: upgrade bongsu, or use another state folder")
        for statement in SCHEMA.split(";") if is_new else MIGRATIONS[version:]:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def require_queues(db: sqlite3.Connection, names: Sequence[str]) -> None:
    """Check that these queues were declared.

    Raises:
        BrokerError: some were not; the message lists them.
    """
    known = {name for (name,) in db.execute("SELECT name FROM queues")}
    missing = [name for name in names if name not in known]
    if missing:
        raise BrokerError(f"no queue {', '.join(missing)}: declare it first (bongsu topology apply)")


def publish(db: sqlite3.Connection, messages: Sequence[Message]) -> None:
    """Put each message into every queue with its routing key; its body is stored once.

    Raises:
        Unroutable: no queue takes a routing key.
    """
    now = time.time()
    routes = {}
    for message in messages:
        bound = db.execute(
            "SELECT name, max_length, ttl_s FROM queues WHERE routing_key = ?", (message.routing_key,)
        ).fetchall()
        if not bound:
            raise Unroutable(f"no queue takes {message.routing_key!r}: declare one (bongsu topology apply)")
        routes[message.routing_key] = bound
    for message in messages:
        body_id = db.execute(
            "INSERT INTO bodies (routing_key, headers, body) VALUES (?, ?, ?)",
            (message.routing_key, json.dumps(dict(message.headers)), message.body),
        ).lastrowid
        for name, max_length, ttl_s in routes[message.routing_key]:
            db.execute(
                "INSERT INTO messages (queue, body_id, attempts, ready_at, expires_at) VALUES (?, ?, 0, 0, ?)",
                (name, body_id, now + ttl_s if ttl_s else None),
            )
            db.execute("UPDATE queues SET published = published + 1 WHERE name = ?", (name,))
            if max_length:
                _drop_oldest(db, name, max_length)


def _drop_oldest(db: sqlite3.Connection, queue: str, max_length: int) -> None:
    (ready,) = db.execute("SELECT count(*) FROM messages WHERE queue = ? AND lease_until IS NULL", (queue,)).fetchone()
    if ready > max_length:
        oldest = db.execute(
            "SELECT id FROM messages WHERE queue = ? AND lease_until IS NULL ORDER BY id LIMIT ?",
            (queue, ready - max_length),
        ).fetchall()
        _drop(db, queue, [id_ for (id_,) in oldest])


def expire(db: sqlite3.Connection, queues: Iterable[str], now: float) -> None:
    """Drop and count the messages that have waited longer than their queue allows."""
    for queue in queues:
        expired = db.execute(
            "SELECT id FROM messages WHERE queue = ? AND lease_until IS NULL AND expires_at < ?", (queue, now)
        ).fetchall()
        if expired:
            _drop(db, queue, [id_ for (id_,) in expired])


def _drop(db: sqlite3.Connection, queue: str, ids: Sequence[int]) -> None:
    for id_ in ids:
        _forget(db, id_)
    if ids:
        shed_total.labels(queue).inc(len(ids))


def has_work(db: sqlite3.Connection, queues: Sequence[str], now: float) -> bool:
    """Whether a message is due. It only reads, so that idle consumers never take the write lock."""
    return any(
        db.execute(
            f"SELECT 1 FROM messages WHERE queue = ?1 AND lease_until IS NULL AND {_IS_DUE} LIMIT 1", (queue, now)
        ).fetchone()
        or any(
            until < now or not _is_alive(owner)
            for until, owner in db.execute(
                "SELECT DISTINCT lease_until, lease_by FROM messages WHERE queue = ? AND lease_until IS NOT NULL",
                (queue,),
            )
        )
        for queue in queues
    )


def take(db: sqlite3.Connection, queues: Sequence[str], limit: int, owner: int, now: float) -> list[LeasedMessage]:
    """Lease up to `limit` messages to `owner` (one broker of one process), oldest first.

    Args:
        now: Unix time.
    """
    limits = {}
    for queue in queues:
        (limits[queue],) = db.execute("SELECT delivery_limit FROM queues WHERE name = ?", (queue,)).fetchone()
        _reclaim(db, queue, limits[queue], now)
    expire(db, queues, now)
    due = sorted(
        row
        for queue in queues
        for row in db.execute(
            "SELECT id, queue, body_id, attempts, deaths FROM messages "
            f"WHERE queue = ?1 AND lease_until IS NULL AND {_IS_DUE} ORDER BY id LIMIT ?3",
            (queue, now, limit),
        ).fetchall()
    )[:limit]
    taken = []
    for id_, queue, body_id, attempts, deaths in due:
        db.execute(
            "UPDATE messages SET lease_until = ?, lease_by = ?, attempts = attempts + 1 WHERE id = ?",
            (now + LEASE_S, owner, id_),
        )
        key, headers, body = db.execute(
            "SELECT routing_key, headers, body FROM bodies WHERE id = ?", (body_id,)
        ).fetchone()
        taken.append(LeasedMessage(id_, queue, attempts + 1, deaths, Message(key, body, json.loads(headers))))
    return taken


def _reclaim(db: sqlite3.Connection, queue: str, limit: int | None, now: float) -> None:
    """Take back the messages of dead workers; one that has killed `limit` workers becomes a dead letter."""
    leased = db.execute(
        "SELECT id, attempts, lease_until, lease_by FROM messages WHERE queue = ? AND lease_until IS NOT NULL", (queue,)
    ).fetchall()
    for id_, attempts, until, owner in leased:
        if until >= now and _is_alive(owner):
            continue
        if limit is not None and attempts >= limit:
            bury(db, id_, f"its worker died or stalled at each of {attempts} deliveries")
        else:
            db.execute(
                "UPDATE messages SET lease_until = NULL, lease_by = NULL, deaths = deaths + 1 WHERE id = ?", (id_,)
            )


def _is_alive(owner: int) -> bool:
    """Whether the owner's process exists. A reused pid looks alive; then the lease expires instead."""
    try:
        os.kill(owner >> OWNER_BITS, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def ack(db: sqlite3.Connection, id_: int) -> None:
    """Delete a message that is done."""
    _forget(db, id_)


def _forget(db: sqlite3.Connection, id_: int) -> None:
    row = db.execute("DELETE FROM messages WHERE id = ? RETURNING body_id", (id_,)).fetchone()
    if row:
        db.execute(_FORGET_BODY, row)


def retry(db: sqlite3.Connection, id_: int, reason: str, after_s: float) -> None:
    """Make a message due again in `after_s` seconds, or bury it at its queue's delivery limit."""
    queue, attempts = db.execute("SELECT queue, attempts FROM messages WHERE id = ?", (id_,)).fetchone()
    (limit,) = db.execute("SELECT delivery_limit FROM queues WHERE name = ?", (queue,)).fetchone()
    if limit is not None and attempts >= limit:
        bury(db, id_, f"{reason} (delivery {attempts} of {limit})")
        return
    db.execute(
        "UPDATE messages SET lease_until = NULL, lease_by = NULL, ready_at = ? WHERE id = ?",
        (time.time() + (after_s if after_s < DELAYS_S[-1] else DELAYS_S[-1]), id_),
    )


def release(db: sqlite3.Connection, id_: int) -> None:
    """Give a message back as if it had not been delivered."""
    db.execute("UPDATE messages SET lease_until = NULL, lease_by = NULL, attempts = attempts - 1 WHERE id = ?", (id_,))


def bury(db: sqlite3.Connection, id_: int, reason: str) -> None:
    """Turn a message into a dead letter."""
    db.execute(
        "INSERT INTO dead (queue, body_id, attempts, reason, dead_at) "
        "SELECT queue, body_id, attempts, ?, ? FROM messages WHERE id = ?",
        (reason, time.time(), id_),
    )
    db.execute("DELETE FROM messages WHERE id = ?", (id_,))
