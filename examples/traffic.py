"""Counts the vehicles around each hazard, by camera and hour, in a SQLite file; for planning detours.

Only hazards are counted: the detector publishes nothing about a street without one, and the only reader of `motion` is
the detector. A handler of `motion` here would take bursts from it.

Run:   BONGSU_TRAFFIC_FILE=traffic.db python -m functions examples/traffic.py
Read:  sqlite3 traffic.db 'SELECT * FROM by_hour'
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence

from functions import HazardSeen, Retry, on
from functions.settings import Environment, read

VEHICLES = frozenset({"car", "bus", "truck", "motorcycle", "vehicle"})
_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (event TEXT, hazard TEXT, camera TEXT, hour TEXT, vehicles INTEGER,
  PRIMARY KEY (event, hazard));
CREATE VIEW IF NOT EXISTS by_hour AS SELECT camera, hour, count(*) AS events, max(vehicles) AS most,
  round(avg(vehicles), 1) AS mean FROM seen GROUP BY camera, hour ORDER BY hour, camera;
"""


class TrafficSettings(Environment, frozen=True):
    """The file of counts."""

    traffic_file: str = "traffic.db"


@contextlib.asynccontextmanager
async def open_counts() -> AsyncIterator[sqlite3.Connection]:
    """Open the file, once per replica; it is created if it does not exist."""
    # A plain handler runs in another thread than the one that opens this.
    db = sqlite3.connect(read(TrafficSettings).traffic_file, check_same_thread=False)
    try:
        db.executescript(_SCHEMA)
        yield db
    finally:
        db.close()


@on(HazardSeen, uses=open_counts, batch=64)
def traffic(events: Sequence[HazardSeen], db: sqlite3.Connection) -> None:
    """Count a batch in one transaction; an event that comes twice counts once.

    Raises:
        Retry: the file is locked or full.
    """
    rows = [
        (event.id, event.hazard, event.camera, f"{event.captured_at:%Y-%m-%d %H}:00", count_vehicles(event))
        for event in events
    ]
    try:
        with db:
            db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?, ?)", rows)
    except sqlite3.OperationalError as error:
        raise Retry(f"traffic file: {error}", after=5) from error


def count_vehicles(event: HazardSeen) -> int:
    """Vehicles in the picture of one hazard."""
    return sum(seen.label in VEHICLES for seen in event.detections)
