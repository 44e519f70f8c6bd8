"""The tables behind the map, one schema for SQLite and MySQL; only this package uses it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# SQLite assigns ids only in a column whose type is exactly INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


class Moment(TypeDecorator[datetime]):
    """A UTC time as whole microseconds since 1970: exact, and sorted the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


VERSION = "0009"
"""The last migration in `migrations/` that this schema includes."""

metadata = MetaData()
# Otherwise MySQL treats "Gate" and "gate" as one camera.
_EXACT: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}

incidents = Table(
    "incidents",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("camera", String(128), nullable=False),
    Column("hazard", String(16), nullable=False),
    Column("lat", Float(53), nullable=False),
    Column("lon", Float(53), nullable=False),
    Column("place", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("first_seen", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
    Column("confidence", Float(53), nullable=False),
    Column("sightings", Integer, nullable=False),
    Column("pin_s", Float(53), nullable=False),
    Column("caption_en", Text),
    Column("caption_ko", Text),
    # JSON, by language; NULL where there are no others.
    Column("caption_others", Text),
    Column("caption_confidence", Float(53)),
    Column("snapshot_key", String(128)),
    Column("revision", BigInteger, nullable=False),
    Column("late", Boolean, nullable=False, server_default=false()),
    # "" where nobody has reviewed it, "held" where its alert waits for a review (held.py). NULL would need a separate
    # query on every index.
    Column("verdict", String(16), nullable=False, server_default=""),
    Column("reviewed_by", String(64)),
    Column("reviewed_at", Moment),
    Column("review_note", Text),
    # These cover all that the API filters and sorts by: only the rows that it shows are read from the table.
    Index("incidents_by_camera", "camera", "hazard", "last_seen", "id", "verdict"),
    Index("incidents_by_time", "last_seen", "id", "hazard", "verdict", "lat", "lon"),
    Index("incidents_by_hazard", "hazard", "last_seen", "id", "verdict", "lat", "lon"),
    Index("incidents_by_verdict", "verdict", "hazard", "last_seen", "id", "lat", "lon"),
    Index("incidents_by_place", "lat", "lon", "last_seen", "hazard", "verdict"),
    Index("incidents_by_review", "reviewed_at"),
    Index("incidents_by_revision", "revision"),
    **_EXACT,
)

sightings = Table(
    "sightings",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("hazard", String(16), primary_key=True),
    Column("incident_id", BigInteger, nullable=False),
    Column("captured_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("confidence", Float(53), nullable=False),
    Column("trace", Text, nullable=False),
    Column("caption_trace", Text),
    Column("detections", Text),
    Column("snapshot_key", String(128)),
    Index("sightings_by_incident", "incident_id", "captured_at"),
    **_EXACT,
)

posts = Table(
    "posts",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("incident_id", BigInteger, nullable=False),
    Column("channel", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("claimed_at", Moment, nullable=False),
    Column("claimed_by", String(64), nullable=False),
    Column("posted_at", Moment),
    Column("text_en", Text),
    Column("text_ko", Text),
    Column("text_others", Text),
    Column("snapshot_key", String(128)),
    Column("reference", String(255)),
    Column("location_key", String(128)),
    Column("revision", BigInteger, nullable=False),
    UniqueConstraint("incident_id", "channel", name="one_post_per_channel"),
    Index("posts_by_revision", "revision"),
    Index("posts_by_channel", "channel", "posted_at"),
    **_EXACT,
)

cameras = Table(
    "cameras",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("lat", Float(53), nullable=False),
    Column("lon", Float(53), nullable=False),
    Column("place", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Column("heard_at", Moment, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("snapshot_key", String(128)),
    Column("snapshot_at", Moment),
    Index("cameras_by_revision", "revision"),
    **_EXACT,
)

sessions = Table(
    "sessions",
    metadata,
    # Digests of both: anyone who reads this table can neither use a session nor recover a key.
    Column("token", String(64), primary_key=True),
    Column("key_digest", String(64), nullable=False),
    Column("expires_at", Moment, nullable=False),
    **_EXACT,
)

requests = Table(
    "requests",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("hook", String(64), nullable=False),
    # Who asked: the key's name, or "" for nobody in particular.
    Column("caller", String(64), nullable=False),
    # Digest of hook, caller and Idempotency-Key; NULL where none was sent, as a unique index allows many of those.
    Column("once", String(64)),
    Column("body_digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("answered_at", Moment),
    # JSON of up to a megabyte, which is more than MySQL's TEXT takes.
    Column("result", Text().with_variant(MEDIUMTEXT(), "mysql")),
    Column("reason", Text),
    UniqueConstraint("once", name="one_request_per_key"),
    Index("requests_by_expiry", "expires_at"),
    **_EXACT,
)

push_subscriptions = Table(
    "push_subscriptions",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    # The endpoint's digest finds it again; the endpoint itself is sealed, and only the sender can open it.
    Column("endpoint_digest", String(64), nullable=False),
    Column("sealed", Text, nullable=False),
    Column("language", String(8), nullable=False),
    Column("hazards", String(255), nullable=False),
    Column("area", Text, nullable=False),
    Column("south", Float(53), nullable=False),
    Column("west", Float(53), nullable=False),
    Column("north", Float(53), nullable=False),
    Column("east", Float(53), nullable=False),
    Column("quiet_hours", String(128)),
    Column("renewed_at", Moment, nullable=False),
    # How often in a row it could not be reached, and since when.
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("failing_since", Moment),
    UniqueConstraint("endpoint_digest", name="one_subscription_per_endpoint"),
    Index("push_subscriptions_by_box", "south", "north", "west", "east"),
    Index("push_subscriptions_by_age", "renewed_at"),
    **_EXACT,
)

push_notices = Table(
    "push_notices",
    metadata,
    Column("incident_id", BigInteger, primary_key=True, autoincrement=False),
    Column("subscription_id", BigInteger, primary_key=True, autoincrement=False),
    # What was sent, as a digest: the same is not sent twice.
    Column("content", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("claimed_at", Moment, nullable=False),
    Column("claimed_by", String(64), nullable=False),
    Index("push_notices_by_subscription", "subscription_id"),
    Index("push_notices_by_age", "claimed_at"),
    **_EXACT,
)

held_alerts = Table(
    "held_alerts",
    metadata,
    Column("incident_id", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", String(64), nullable=False),
    # The signed event that is published if an operator releases it: some 100 KB of pictures.
    # In base64, because aiomysql cannot send bytes.
    Column("alert", Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
    Column("held_at", Moment, nullable=False),
    Column("published_at", Moment),
    Index("held_alerts_by_event", "event_id"),
    Index("held_alerts_by_age", "held_at"),
    **_EXACT,
)

counter = Table(
    "counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
    **_EXACT,
)

site = Table(
    "site",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("uuid", String(36), nullable=False),
    **_EXACT,
)

version = Table(
    "alembic_version",
    # Alembic's own table, which its migrations do not create.
    MetaData(),
    Column("version_num", String(32), primary_key=True),
    **_EXACT,
)
