"""The database's own name, which identifiers in feeds and CAP alerts are made from."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_EXACT: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def upgrade() -> None:
    bind = op.get_bind()
    if "site" not in sa.inspect(bind).get_table_names():
        op.create_table(
            "site",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("uuid", sa.String(36), nullable=False),
            **_EXACT,
        )
    # On a server that was stopped in mid-step it may be there already.
    if bind.execute(sa.text("select uuid from site")).scalar_one_or_none() is None:
        bind.execute(sa.text("insert into site (id, uuid) values (1, :uuid)"), {"uuid": str(uuid.uuid4())})
