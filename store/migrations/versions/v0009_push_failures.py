"""How often in a row a subscription to Web Push could not be reached, and since when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    # On a server that was stopped in mid-step, one of them may be there already.
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("push_subscriptions")}
    if "failures" not in known:
        op.add_column("push_subscriptions", sa.Column("failures", sa.Integer, nullable=False, server_default="0"))
    if "failing_since" not in known:
        op.add_column("push_subscriptions", sa.Column("failing_since", sa.BigInteger))
