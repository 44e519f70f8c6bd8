"""Incidents, sightings, posts, cameras and the counter of the first release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_EXACT: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("camera", sa.String(128), nullable=False),
        sa.Column("hazard", sa.String(16), nullable=False),
        sa.Column("lat", sa.Float(53), nullable=False),
        sa.Column("lon", sa.Float(53), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
        sa.Column("confidence", sa.Float(53), nullable=False),
        sa.Column("sightings", sa.Integer, nullable=False),
        sa.Column("pin_s", sa.Float(53), nullable=False),
        sa.Column("caption_en", sa.Text),
        sa.Column("caption_ko", sa.Text),
        sa.Column("caption_confidence", sa.Float(53)),
        sa.Column("snapshot_key", sa.String(128)),
        sa.Column("revision", sa.BigInteger, nullable=False),
        **_EXACT,
    )
    op.create_index("incidents_by_camera", "incidents", ["camera", "hazard", "last_seen"])
    op.create_index("incidents_by_time", "incidents", ["last_seen"])
    op.create_index("incidents_by_revision", "incidents", ["revision"])
    op.create_table(
        "sightings",
        sa.Column("event_id", sa.String(64), primary_key=True),
        sa.Column("hazard", sa.String(16), primary_key=True),
        sa.Column("incident_id", sa.BigInteger, nullable=False),
        sa.Column("captured_at", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("confidence", sa.Float(53), nullable=False),
        sa.Column("trace", sa.Text, nullable=False),
        sa.Column("caption_trace", sa.Text),
        **_EXACT,
    )
    op.create_index("sightings_by_incident", "sightings", ["incident_id"])
    op.create_table(
        "posts",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("incident_id", sa.BigInteger, nullable=False),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("claimed_at", sa.BigInteger, nullable=False),
        sa.Column("claimed_by", sa.String(64), nullable=False),
        sa.Column("posted_at", sa.BigInteger),
        sa.Column("text_en", sa.Text),
        sa.Column("text_ko", sa.Text),
        sa.Column("snapshot_key", sa.String(128)),
        sa.Column("reference", sa.String(255)),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("incident_id", "channel", name="one_post_per_channel"),
        **_EXACT,
    )
    op.create_index("posts_by_revision", "posts", ["revision"])
    op.create_table(
        "cameras",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("lat", sa.Float(53), nullable=False),
        sa.Column("lon", sa.Float(53), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("heard_at", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        **_EXACT,
    )
    op.create_index("cameras_by_revision", "cameras", ["revision"])
    op.create_table(
        "counter",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        **_EXACT,
    )
