"""Indexes that serve the API's queries without reading table rows, even with a million of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _have("incidents", "incidents_by_hazard", ["hazard", "last_seen", "id", "lat", "lon"])
    _have("incidents", "incidents_by_place", ["lat", "lon", "last_seen", "hazard"])
    _have("incidents", "incidents_by_time", ["last_seen", "id", "hazard", "lat", "lon"])
    _have("posts", "posts_by_channel", ["channel", "posted_at"])


def _have(table: str, name: str, columns: list[str]) -> None:
    """Create the index; after an interrupted migration some of them exist already."""
    found = {index["name"]: index["column_names"] for index in sa.inspect(op.get_bind()).get_indexes(table)}
    if found.get(name) == columns:
        return
    if name in found:
        op.drop_index(name, table)
    op.create_index(name, table, columns)
