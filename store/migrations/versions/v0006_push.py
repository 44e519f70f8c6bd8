"""Subscriptions to Web Push, and what each was sent of which incident."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_EXACT: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    # On a server that was stopped in mid-step, some of it may be there already.
    existing = sa.inspect(op.get_bind()).get_table_names()
    if "push_subscriptions" not in existing:
        op.create_table(
            "push_subscriptions",
            sa.Column("id", _ID, primary_key=True, autoincrement=True),
            sa.Column("endpoint_digest", sa.String(64), nullable=False),
            sa.Column("sealed", sa.Text, nullable=False),
            sa.Column("language", sa.String(8), nullable=False),
            sa.Column("hazards", sa.String(255), nullable=False),
            sa.Column("area", sa.Text, nullable=False),
            *(sa.Column(side, sa.Float(53), nullable=False) for side in ("south", "west", "north", "east")),
            sa.Column("quiet_hours", sa.String(128)),
            sa.Column("renewed_at", sa.BigInteger, nullable=False),
            sa.UniqueConstraint("endpoint_digest", name="one_subscription_per_endpoint"),
            **_EXACT,
        )
    if "push_notices" not in existing:
        op.create_table(
            "push_notices",
            sa.Column("incident_id", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("subscription_id", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("content", sa.String(32), nullable=False),
            sa.Column("state", sa.String(16), nullable=False),
            sa.Column("claimed_at", sa.BigInteger, nullable=False),
            sa.Column("claimed_by", sa.String(64), nullable=False),
            **_EXACT,
        )
    _have("push_subscriptions", "push_subscriptions_by_box", ["south", "north", "west", "east"])
    _have("push_subscriptions", "push_subscriptions_by_age", ["renewed_at"])
    _have("push_notices", "push_notices_by_subscription", ["subscription_id"])
    _have("push_notices", "push_notices_by_age", ["claimed_at"])


def _have(table: str, name: str, columns: list[str]) -> None:
    if name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)
