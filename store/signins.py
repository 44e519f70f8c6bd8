"""Sessions of people who gave a key to the page, as digests: who reads them can neither use one nor find a key."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import insert, select

from functions.event import utc_now
from store import schema
from store.database import Database
from store.failures import persistent


class SignIns:
    """Sessions that are open; all digests are hexadecimal SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def open(self, token_digest: str, key_digest: str, expires_at: datetime) -> None:
        """Remember a session, and forget those that are over.

        Raises:
            StoreError: the database is not available.
        """
        table = schema.sessions
        async with self._database.write() as (connection, _):
            await connection.execute(table.delete().where(table.c.expires_at < utc_now()))
            await connection.execute(table.delete().where(table.c.token == token_digest))
            kept = {"token": token_digest, "key_digest": key_digest, "expires_at": expires_at}
            await connection.execute(insert(table).values(**kept))

    @persistent
    async def key_of(self, token_digest: str) -> str | None:
        """The digest of the key that opened a session; None where it is over or never was."""
        table = schema.sessions
        query = select(table.c.key_digest).where(table.c.token == token_digest, table.c.expires_at >= utc_now())
        async with self._database.read() as connection:
            return cast("str | None", (await connection.execute(query)).scalar_one_or_none())

    @persistent
    async def close(self, token_digest: str) -> None:
        """Forget a session. Idempotent."""
        table = schema.sessions
        async with self._database.write() as (connection, _):
            await connection.execute(table.delete().where(table.c.token == token_digest))
