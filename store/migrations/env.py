"""Alembic runs this for each command; it uses the connection that `database.py` passes in."""

from __future__ import annotations

from alembic import context

_connection = context.config.attributes["connection"]
# MySQL commits at every DDL statement, so there each migration is recorded as soon as it is applied.
context.configure(connection=_connection, transactional_ddl=_connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
