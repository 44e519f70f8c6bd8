"""The name of a database, assigned once; identifiers that other systems store are made from it."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from sqlalchemy import select

from store import schema
from store.database import Database
from store.failures import persistent


class Identity:
    """The database's name, which does not change with the address at which readers reach it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    async def read(self) -> UUID:
        """The name.

        Raises:
            StoreError: the database is not available.
        """
        async with self._database.read() as connection:
            return UUID(cast(str, (await connection.execute(select(schema.site.c.uuid))).scalar_one()))
