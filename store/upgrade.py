"""Migrates a database's tables to this version's schema; `database.py` and `bongsu db` call it."""

from __future__ import annotations

from importlib.resources import files
from typing import cast
from uuid import uuid4

from sqlalchemy import Connection, insert, inspect, select

from store import schema

FIRST = "0001"


def find_version(connection: Connection) -> str | None:
    """The database's schema version; None if it is empty or half created."""
    tables = set(inspect(connection).get_table_names())
    if schema.counter.name not in tables:
        return None
    if connection.execute(select(schema.counter.c.id)).scalar_one_or_none() is None:
        return None
    if schema.version.name not in tables:
        # A database from before schema versions were numbered.
        return FIRST
    return cast("str | None", connection.execute(select(schema.version.c.version_num)).scalar_one_or_none()) or FIRST


def create(connection: Connection) -> None:
    """Create what is missing. The counter's row is written last: if it exists, everything else does."""
    schema.metadata.create_all(connection)
    schema.version.create(connection, checkfirst=True)
    if connection.execute(select(schema.version.c.version_num)).scalar_one_or_none() is None:
        connection.execute(insert(schema.version).values(version_num=schema.VERSION))
    if connection.execute(select(schema.site.c.id)).scalar_one_or_none() is None:
        connection.execute(insert(schema.site).values(id=1, uuid=str(uuid4())))
    if connection.execute(select(schema.counter.c.id)).scalar_one_or_none() is None:
        connection.execute(insert(schema.counter).values(id=1, value=0))


def upgrade(connection: Connection, version: str) -> None:
    """Apply every migration after `version`."""
    # Imported here because nothing else needs Alembic, so no function pays for its import.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("store") / "migrations"))
    config.attributes["connection"] = connection
    if schema.version.name not in inspect(connection).get_table_names():
        command.stamp(config, version)
    command.upgrade(config, "head")
