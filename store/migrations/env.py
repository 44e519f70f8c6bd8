"""What Alembic runs for each command: it works on the connection that `database.py` hands over."""

from __future__ import annotations

from alembic import context

_connection = context.config.attributes["connection"]
# MySQL commits at every change of a table, so there each step is noted as soon as it is taken.
context.configure(connection=_connection, transactional_ddl=_connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
