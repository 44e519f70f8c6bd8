"""Login sessions of the page, as digests: anyone who reads them can neither use a session nor recover a key."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import insert, select

from functions.event import utc_now
from store import schema
from store.database import Database
from store.failures import persistent


class SignIns:
    """Open login sessions; all digests are hexadecimal SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def open(self, token_digest: str, key_digest: str, expires_at: datetime) -> None:
        """Store a session, and delete expired ones.

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
        """The digest of the key that opened a session; None if it has expired or never existed."""
        table = schema.sessions
        query = select(table.c.key_digest).where(table.c.token == token_digest, table.c.expires_at >= utc_now())
        async with self._database.read() as connection:
            return cast("str | None", (await connection.execute(query)).scalar_one_or_none())

    @persistent
    async def close(self, token_digest: str) -> None:
        """Delete a session. Idempotent."""
        table = schema.sessions
        async with self._database.write() as (connection, _):
            await connection.execute(table.delete().where(table.c.token == token_digest))
