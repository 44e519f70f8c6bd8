"""Addresses of the database and the public pictures, which functions and API read from the environment."""

from __future__ import annotations

from functions.settings import Environment, read

# msgspec, not pydantic: every function imports this, and pydantic would double its cold start.


class StoreSettings(Environment, frozen=True):
    """Addresses of the database and the snapshot store, and the time after which an incident is over."""

    database_url: str = "sqlite+aiosqlite:///state/bongsu.db"
    """The database: `sqlite+aiosqlite:///file` or `mysql+aiomysql://user:password@host/name`."""
    snapshot_url: str = "state/snapshots"
    """A folder, or an address that obstore opens: `file:///…`, `s3://bucket/prefix`, …"""
    quiet_s: float = 120.0
    """Seconds without a sighting after which an incident is over; the next sighting opens a new one."""

    def __post_init__(self) -> None:
        if not 1 <= self.quiet_s <= 86_400:
            raise ValueError(f"BONGSU_QUIET_S must be 1 to 86400 seconds, got {self.quiet_s}")


def load() -> StoreSettings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value cannot be used.
    """
    return read(StoreSettings)
