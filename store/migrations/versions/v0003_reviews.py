"""Reviews, late incidents, boxes and pictures of sightings, pictures of cameras, sessions, and indexes by verdict."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_EXACT: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def upgrade() -> None:
    # The previous release does not know these columns: its rows must be complete without them.
    _add("incidents", sa.Column("late", sa.Boolean, nullable=False, server_default=sa.false()))
    _add("incidents", sa.Column("verdict", sa.String(16), nullable=False, server_default=""))
    _add("incidents", sa.Column("reviewed_by", sa.String(64)))
    _add("incidents", sa.Column("reviewed_at", sa.BigInteger))
    _add("incidents", sa.Column("review_note", sa.Text))
    _add("sightings", sa.Column("detections", sa.Text))
    _add("sightings", sa.Column("snapshot_key", sa.String(128)))
    _add("posts", sa.Column("location_key", sa.String(128)))
    _add("cameras", sa.Column("snapshot_key", sa.String(128)))
    _add("cameras", sa.Column("snapshot_at", sa.BigInteger))
    _have("incidents", "incidents_by_camera", ["camera", "hazard", "last_seen", "id", "verdict"])
    _have("incidents", "incidents_by_time", ["last_seen", "id", "hazard", "verdict", "lat", "lon"])
    _have("incidents", "incidents_by_hazard", ["hazard", "last_seen", "id", "verdict", "lat", "lon"])
    _have("incidents", "incidents_by_verdict", ["verdict", "hazard", "last_seen", "id", "lat", "lon"])
    _have("incidents", "incidents_by_place", ["lat", "lon", "last_seen", "hazard", "verdict"])
    _have("incidents", "incidents_by_review", ["reviewed_at"])
    _have("sightings", "sightings_by_incident", ["incident_id", "captured_at"])
    if "sessions" not in sa.inspect(op.get_bind()).get_table_names():
        op.create_table(
            "sessions",
            sa.Column("token", sa.String(64), primary_key=True),
            sa.Column("key_digest", sa.String(64), nullable=False),
            sa.Column("expires_at", sa.BigInteger, nullable=False),
            **_EXACT,
        )


def _add(table: str, column: sa.Column[Any]) -> None:
    """Add the column; after an interrupted migration some of them exist already."""
    if column.name not in {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def _have(table: str, name: str, columns: list[str]) -> None:
    found = {index["name"]: index["column_names"] for index in sa.inspect(op.get_bind()).get_indexes(table)}
    if found.get(name) == columns:
        return
    if name in found:
        op.drop_index(name, table)
    op.create_index(name, table, columns)
