"""Alerts that are held back until an operator reviews them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0008"
down_revision = "0007"

_EXACT: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def upgrade() -> None:
    # On a server that was stopped in mid-step, some of it may be there already.
    inspector = sa.inspect(op.get_bind())
    if "held_alerts" not in inspector.get_table_names():
        op.create_table(
            "held_alerts",
            sa.Column("incident_id", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("event_id", sa.String(64), nullable=False),
            sa.Column("alert", sa.Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
            sa.Column("held_at", sa.BigInteger, nullable=False),
            sa.Column("published_at", sa.BigInteger),
            **_EXACT,
        )
    known = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("held_alerts")}
    for name, column in (("held_alerts_by_event", "event_id"), ("held_alerts_by_age", "held_at")):
        if name not in known:
            op.create_index(name, "held_alerts", [column])
