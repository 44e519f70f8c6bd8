"""The database behind the map: how it is opened and created, and how its transactions stand in line.

Every change that a reader can see takes the next revision from the one row of `counter`, first thing in its
transaction. That row is a lock: writers go one after another, on SQLite by `BEGIN IMMEDIATE` and elsewhere by the row's
own lock. So what a transaction reads after it is current, an incident is opened once, and revisions become visible in
order. What happens inside of the transactions is in `store.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, event, insert, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from notify.map import schema

# Under the 20 s that a handler may take, so that it is the database that gives up, and says why.
_BUSY_MS = 8_000
_OPEN_ATTEMPTS = 20


class StoreError(Exception):
    """The database cannot be used now, or not like this; the message says what to change. Safe to retry."""


class StoreUrlError(StoreError):
    """The URL itself is wrong: trying again cannot help."""


class Database:
    """One open database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect, and create what is missing; several processes may do so at once.

        Raises:
            StoreUrlError: the URL is none that can be used.
            StoreError: the database cannot be opened now.
        """
        database = cls(_engine(_parse(url)))
        try:
            await database._create()
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        await self._engine.dispose()

    def read(self) -> contextlib.AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that sees one state of everything and changes nothing."""
        return self._transaction(write=False)

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[tuple[AsyncConnection, int]]:
        """A transaction that stands in line with all other writers, and its revision. Nothing changed? Roll back."""
        table = schema.counter
        async with self._transaction(write=True) as connection:
            await connection.execute(update(table).values(value=table.c.value + 1))
            yield connection, (await connection.execute(select(table.c.value))).scalar_one()

    async def _create(self) -> None:
        # The counter's row is written last, so where it is, all is: most replicas start without taking a lock.
        with contextlib.suppress(StoreError):
            async with self.read() as connection:
                if (await connection.execute(select(schema.counter.c.id))).scalar_one_or_none() is not None:
                    return
        for attempt in range(_OPEN_ATTEMPTS):
            try:
                async with self._transaction(write=True) as connection:
                    await connection.run_sync(schema.metadata.create_all)
                    has_counter = (await connection.execute(select(schema.counter.c.id))).scalar_one_or_none()
                    if has_counter is None:
                        await connection.execute(insert(schema.counter).values(id=1, value=0))
                return
            except StoreError:
                # Another process is creating the same tables: where DDL is no part of a transaction, both may try.
                if attempt == _OPEN_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.05 * (attempt + 1))

    @contextlib.asynccontextmanager
    async def _transaction(self, *, write: bool) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(bongsu_write=write)
                async with connection.begin():
                    yield connection
        except (SQLAlchemyError, OSError) as error:
            raise StoreError(_explain(self._engine.url, error)) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreUrlError("BONGSU_DATABASE_URL must be like sqlite+aiosqlite:///file or mysql+aiomysql://…") from None
    if parsed.drivername not in ("sqlite+aiosqlite", "mysql+aiomysql"):
        raise StoreUrlError(
            f"BONGSU_DATABASE_URL must begin sqlite+aiosqlite:/// or mysql+aiomysql://, got {parsed.drivername}:"
        )
    return parsed


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_pre_ping=True, pool_recycle=1800)
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(_explain(url, error)) from error
    engine = create_async_engine(url)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, and always deferred: we begin them below.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the lock in SQLite, it fails: take it at once.
    is_write = connection.get_execution_options().get("bongsu_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _explain(url: URL, error: Exception) -> str:
    cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    name = url.render_as_string(hide_password=True)
    return f"database {name}: {' '.join(cause.split())}: check BONGSU_DATABASE_URL, free space and rights"
