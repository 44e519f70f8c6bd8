"""Requests to hooks and what functions answered, kept for as long as the API promises."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, insert, select, update

from functions.event import utc_now
from store import schema
from store.database import Database
from store.failures import persistent
from store.records import Request


class Requests:
    """One row for each request. All times are UTC, all digests hexadecimal SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def accept(self, request: Request, once: str | None = None) -> Request:
        """Keep a request before its event is published.

        Args:
            request: a new one.
            once: digest of hook, caller and Idempotency-Key, if one was sent.

        Returns:
            It, or the earlier one of the same key.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.requests
        async with self._database.write() as (connection, _):
            same = table.c.id == request.id if once is None else table.c.once == once
            row = (await connection.execute(select(table).where(same))).one_or_none()
            if row is not None and row.expires_at >= utc_now():
                return _read(row)
            await connection.execute(table.delete().where(same))
            await connection.execute(insert(table).values(once=once, **_values(request)))
        return request

    @persistent
    async def published(self, id_: str) -> None:
        """Note that a request's event waits for its function; it may be answered by now. Idempotent.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.requests
        async with self._database.write() as (connection, _):
            this = and_(table.c.id == id_, table.c.state == "new")
            await connection.execute(update(table).where(this).values(state="waiting"))

    @persistent
    async def answer(self, id_: str, *, state: str, result: str, reason: str, answered_at: datetime) -> bool:
        """Keep what became of a request; the first success stays, and a failure gives way to a success.

        Returns:
            Whether there is such a request still.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.requests
        values = {"state": state, "result": result, "reason": reason or None, "answered_at": answered_at}
        async with self._database.write() as (connection, _):
            found = (await connection.execute(select(table.c.state).where(table.c.id == id_))).scalar_one_or_none()
            # A dead letter that was replayed may succeed after all.
            if found is not None and found != "done":
                await connection.execute(update(table).where(table.c.id == id_).values(**values))
        return found is not None

    @persistent
    async def get(self, id_: str) -> Request | None:
        """The request with that id; None where there is none any more.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.requests
        query = select(table).where(table.c.id == id_, table.c.expires_at >= utc_now())
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _read(row)

    @persistent
    async def prune(self) -> int:
        """Delete those whose time is over; returns how many.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.requests
        async with self._database.write() as (connection, _):
            return (await connection.execute(table.delete().where(table.c.expires_at < utc_now()))).rowcount


_COLUMNS = (
    "id",
    "hook",
    "caller",
    "body_digest",
    "state",
    "received_at",
    "expires_at",
    "answered_at",
    "result",
    "reason",
)


def _values(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in _COLUMNS}


def _read(row: Row[Any]) -> Request:
    return Request(**{name: getattr(row, name) for name in _COLUMNS})
