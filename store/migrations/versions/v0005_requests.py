"""Requests to hooks, and their answers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0005"
down_revision = "0004"

_EXACT: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def upgrade() -> None:
    if "requests" not in sa.inspect(op.get_bind()).get_table_names():
        op.create_table(
            "requests",
            sa.Column("id", sa.String(64), primary_key=True),
            sa.Column("hook", sa.String(64), nullable=False),
            sa.Column("caller", sa.String(64), nullable=False),
            sa.Column("once", sa.String(64)),
            sa.Column("body_digest", sa.String(64), nullable=False),
            sa.Column("state", sa.String(16), nullable=False),
            sa.Column("received_at", sa.BigInteger, nullable=False),
            sa.Column("expires_at", sa.BigInteger, nullable=False),
            sa.Column("answered_at", sa.BigInteger),
            sa.Column("result", sa.Text().with_variant(MEDIUMTEXT(), "mysql")),
            sa.Column("reason", sa.Text),
            sa.UniqueConstraint("once", name="one_request_per_key"),
            **_EXACT,
        )
    if "requests_by_expiry" not in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes("requests")}:
        op.create_index("requests_by_expiry", "requests", ["expires_at"])
