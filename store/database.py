"""The database behind the map: how it is opened and created, and how its transactions are serialized.

Every change that a reader can see takes the next revision from the one row of `counter`, first thing in its
transaction. That row is a lock: writers go one after another, on SQLite by `BEGIN IMMEDIATE` and elsewhere by the row's
own lock. So what a transaction reads after it is current, an incident is opened once, and revisions become visible in
order. What happens inside the transactions is in the data-access classes of this package.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self, cast

import structlog
from sqlalchemy import Connection, event, select, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from store import schema, upgrade
from store.failures import (
    PassingError,
    SchemaError,
    StoreError,
    StoreUrlError,
    explain,
    is_passing,
    persistent,
)

log = structlog.get_logger()

# Under the 20 s that a handler may take, so that the database times out first, with an error that says why.
_BUSY_MS = 8_000
_LOCK_WAIT_S = 5
_CONNECT_S = 5
_UPGRADE_WAIT_S = 60


class Database:
    """One open database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect, and create what is missing; several processes may do so at once.

        An SQLite file is upgraded too. A server's tables are not: its operator runs `bongsu db upgrade`.

        Raises:
            StoreUrlError: the URL does not name a database that can be used.
            SchemaError: the tables have an older schema version.
            StoreError: the database cannot be opened now.
        """
        database = cls(_engine(_parse(url)))
        try:
            if not await database._is_current():
                is_file = database._engine.dialect.name == "sqlite"
                # The file may be locked while another process creates it.
                prepare = persistent(database._prepare) if is_file else database._prepare
                await prepare(may_upgrade=is_file)
        except BaseException:
            await database.close()
            raise
        return database

    @classmethod
    async def upgrade(cls, url: str) -> tuple[str | None, str]:
        """Migrate the tables to this version's schema, and return their schema versions before and after.

        Raises:
            StoreUrlError: the URL does not name a database that can be used.
            StoreError: the database cannot be upgraded now.
        """
        database = cls(_engine(_parse(url)))
        try:
            return await database._prepare(may_upgrade=True)
        finally:
            await database.close()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._engine.dispose()

    def read(self) -> contextlib.AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that sees one state of everything and changes nothing."""
        return self._transaction(write=False)

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[tuple[AsyncConnection, int]]:
        """A transaction that excludes all other writers, and its revision. Roll back where nothing changed.

        The revision is for one row. Every further row that readers must notice takes `next_revision`.
        """
        async with self._transaction(write=True) as connection:
            yield connection, await next_revision(connection)

    async def _is_current(self) -> bool:
        """Whether the tables have at least this schema version, so that most replicas start without taking a lock."""
        query = select(schema.version.c.version_num).where(select(schema.counter.c.id).exists())
        with contextlib.suppress(StoreError):
            async with self.read() as connection:
                version = (await connection.execute(query)).scalar_one_or_none()
                return version is not None and version >= schema.VERSION
        return False

    async def _prepare(self, *, may_upgrade: bool) -> tuple[str | None, str]:
        async with self._transaction(write=True) as connection, self._alone(connection):
            found = await connection.run_sync(upgrade.find_version)
            if found is None:
                await connection.run_sync(upgrade.create)
            elif found < schema.VERSION:
                if not may_upgrade:
                    name = self._engine.url.render_as_string(hide_password=True)
                    raise SchemaError(
                        f"database {name} has schema version {found}, but {schema.VERSION} is needed: "
                        "run `bongsu db upgrade`"
                    )
                await connection.run_sync(upgrade.upgrade, found)
            return found, max(found or "", schema.VERSION)

    @contextlib.asynccontextmanager
    async def _alone(self, connection: AsyncConnection) -> AsyncIterator[None]:
        """Keep other processes from creating and upgrading: on MySQL, DDL is not part of a transaction."""
        if self._engine.dialect.name == "sqlite":
            yield
            return
        name = {"name": f"bongsu.{self._engine.url.database}"[:64], "wait_s": _UPGRADE_WAIT_S}
        if (await connection.execute(text("SELECT GET_LOCK(:name, :wait_s)"), name)).scalar_one() != 1:
            raise StoreError("another process is upgrading the database: wait for it")
        try:
            yield
        finally:
            # Commit first: the next process must see the new tables.
            await connection.execute(text("COMMIT"))
            await connection.execute(text("SELECT RELEASE_LOCK(:name)"), name)

    @contextlib.asynccontextmanager
    async def _transaction(self, *, write: bool) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(bongsu_write=write)
                async with connection.begin():
                    yield connection
        except (SQLAlchemyError, OSError) as error:
            kind = PassingError if is_passing(error) else StoreError
            raise kind(explain(self._engine.url, error)) from error


async def next_revision(connection: AsyncConnection) -> int:
    """The next revision, within `write`.

    Two rows must never share a revision. A page of changes that ends between them, or a reader whose connection
    breaks after the first, would continue after both and miss the second.
    """
    table = schema.counter
    await connection.execute(update(table).values(value=table.c.value + 1))
    return cast(int, (await connection.execute(select(table.c.value))).scalar_one())


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreUrlError("BONGSU_DATABASE_URL must be like sqlite+aiosqlite:///file or mysql+aiomysql://…") from None
    if parsed.drivername not in ("sqlite+aiosqlite", "mysql+aiomysql"):
        raise StoreUrlError(
            f"BONGSU_DATABASE_URL must start with sqlite+aiosqlite:/// or mysql+aiomysql://, got {parsed.drivername}:"
        )
    return parsed


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(
            url,
            # A server may default to READ COMMITTED, where each query of a transaction sees its own snapshot: changes
            # committed between reading the counter and reading a table would be skipped.
            isolation_level="REPEATABLE READ",
            # No ping before each use: a lost connection is retried like any other passing error.
            pool_recycle=1800,
            connect_args={
                "connect_timeout": _CONNECT_S,
                "init_command": f"SET SESSION innodb_lock_wait_timeout = {_LOCK_WAIT_S}",
            },
        )
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(explain(url, error)) from error
    engine = create_async_engine(url)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transactions are always deferred, so we begin them ourselves, below.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # In SQLite a transaction that reads first and writes later cannot wait for the write lock, it fails: lock at once.
    is_write = connection.get_execution_options().get("bongsu_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
