"""Where the database and the public pictures are: what the functions and the API read from the environment alike."""

from __future__ import annotations

from functions.settings import Environment, read

# msgspec, not pydantic: every function imports this, and pydantic would double its cold start.


class StoreSettings(Environment, frozen=True):
    """Addresses of the stores, and when an incident is over."""

    database_url: str = "sqlite+aiosqlite:///state/bongsu.db"
    """The database: `sqlite+aiosqlite:///file` or `mysql+aiomysql://user:password@host/name`."""
    snapshot_url: str = "state/snapshots"
    """A folder, or an address that obstore opens: `file:///…`, `s3://bucket/prefix`, …"""
    quiet_s: float = 120.0
    """A hazard not seen for so long is over; the next sighting opens a new incident."""

    def __post_init__(self) -> None:
        if not 1 <= self.quiet_s <= 86_400:
            raise ValueError(f"BONGSU_QUIET_S must be 1 to 86400 seconds, got {self.quiet_s}")


def load() -> StoreSettings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value cannot be used.
    """
    return read(StoreSettings)
