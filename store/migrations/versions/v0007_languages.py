"""Captions and posts in further languages than English and Korean."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # NULL where there are none: the previous release does not know these columns.
    _add("incidents", sa.Column("caption_others", sa.Text))
    _add("posts", sa.Column("text_others", sa.Text))


def _add(table: str, column: sa.Column[str]) -> None:
    """Add the column; after an interrupted migration some of them exist already."""
    if column.name not in {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
