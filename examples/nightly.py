"""Keeps events in a SQLite file, and writes the report of a night from it: one line per camera and kind.

Run:    BONGSU_NIGHTLY_FILE=nightly.db python -m functions examples/nightly.py
Report: at 06:00 in Korea it writes reports/2026-11-27.md, where its schedule is run (docs/schedules.md); at any time:
        BONGSU_NIGHTLY_FILE=nightly.db python examples/nightly.py 2026-11-27
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from functions import CameraEvent, HazardSeen, Retry, Tick, on
from functions.settings import Environment, SettingsError, read

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (event TEXT, type TEXT, camera TEXT, place TEXT, at TEXT, PRIMARY KEY (event, type));
CREATE INDEX IF NOT EXISTS facts_by_time ON facts (at);
"""


class NightlySettings(Environment, frozen=True):
    """The file of facts, and the hours of a night."""

    nightly_file: str = "nightly.db"
    nightly_from_hour: int = 12
    """Hour of the day (UTC) at which a night begins; 12 is 21:00 in Korea."""
    nightly_hours: int = 9
    nightly_reports: str = "reports"
    """Folder of the reports."""

    def __post_init__(self) -> None:
        if not (0 <= self.nightly_from_hour <= 23 and 1 <= self.nightly_hours <= 24):
            raise ValueError(
                "BONGSU_NIGHTLY_FROM_HOUR must be 0 to 23 and BONGSU_NIGHTLY_HOURS 1 to 24, got "
                f"{self.nightly_from_hour} and {self.nightly_hours}"
            )


@contextlib.asynccontextmanager
async def open_facts() -> AsyncIterator[sqlite3.Connection]:
    """Open the file, once per replica; it is created if it does not exist."""
    with contextlib.closing(_connect(read(NightlySettings))) as db:
        yield db


# examples/parking.py publishes "lane-blocked"; its class is unknown here, so it arrives as a CustomEvent.
@on(HazardSeen, "lane-blocked", uses=open_facts, batch=64)
def nightly(events: Sequence[CameraEvent], db: sqlite3.Connection) -> None:
    """Keep a batch in one transaction; an event that comes twice is kept once.

    Raises:
        Retry: the file is locked or full.
    """
    rows = [(event.id, event.type, event.camera, event.place.name, event.captured_at.isoformat()) for event in events]
    try:
        with db:
            db.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?, ?, ?, ?)", rows)
    except sqlite3.OperationalError as error:
        raise Retry(f"nightly file: {error}", after=5) from error


@on.schedule("0 6 * * *", zone="Asia/Seoul", uses=open_facts)
def report(tick: Tick, db: sqlite3.Connection) -> None:
    """Write the report of the night that ends; a tick that comes twice writes the same file twice.

    Raises:
        Retry: the folder cannot be written.
    """
    settings = read(NightlySettings)
    begins_at = tick.due_at - timedelta(hours=settings.nightly_hours)
    path = Path(settings.nightly_reports) / f"{begins_at:%Y-%m-%d}.md"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write_report(db, begins_at, settings.nightly_hours), "utf-8")
    except OSError as error:
        raise Retry(f"{path}: {error.strerror}", after=60) from error


def write_report(db: sqlite3.Connection, begins_at: datetime, hours: int) -> str:
    """The report of one night as Markdown: for each camera and kind the number of events, first and last (UTC)."""
    ends_at = begins_at + timedelta(hours=hours)
    rows = db.execute(
        "SELECT place, camera, type, count(*), min(at), max(at) FROM facts WHERE at >= ? AND at < ? "
        "GROUP BY place, camera, type ORDER BY place, camera, type",
        (begins_at.isoformat(), ends_at.isoformat()),
    ).fetchall()
    lines = [f"# {begins_at:%Y-%m-%d %H:%M} to {ends_at:%Y-%m-%d %H:%M} UTC", ""]
    if not rows:
        return "\n".join([*lines, "Nothing was seen.", ""])
    lines += ["| place | camera | what | events | first | last |", "|---|---|---|---|---|---|"]
    for place, camera, type_, count, first, last in rows:
        lines.append(f"| {place} | {camera} | {type_} | {count} | {first[11:16]} | {last[11:16]} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str]) -> str:
    """Print the report of the night that began on the given day (YYYY-MM-DD).

    Raises:
        SystemExit: with one line, if the day or a setting is invalid.
    """
    if len(arguments) != 1:
        sys.exit("usage: python examples/nightly.py YYYY-MM-DD")
    try:
        settings = read(NightlySettings)
        day = datetime.strptime(arguments[0], "%Y-%m-%d").replace(tzinfo=UTC)
    except SettingsError as error:
        sys.exit(f"nightly: {error}")
    except ValueError:
        sys.exit(f"nightly: the day must be like 2026-11-27, got {arguments[0]!r}")
    with contextlib.closing(_connect(settings)) as db:
        return write_report(db, day + timedelta(hours=settings.nightly_from_hour), settings.nightly_hours)


def _connect(settings: NightlySettings) -> sqlite3.Connection:
    # A plain handler runs in another thread than the one that opens this.
    db = sqlite3.connect(settings.nightly_file, check_same_thread=False)
    db.executescript(_SCHEMA)
    return db


if __name__ == "__main__":
    print(main(sys.argv[1:]), end="")
