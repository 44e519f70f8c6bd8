"""The API's queries on a million incidents, in SQLite and in a MariaDB that it starts: milliseconds, p50 and p95."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import math
import random
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from functions.event import HAZARDS, utc_now
from store import Store, Wanted
from store.records import Position
from tests.servers import MariaDB, ServerError

INCIDENTS = 1_000_000
QUERIES = 200
AIM = "<= 50 ms p95"
_DAYS = 365
_CAMERAS = 2_000
_COLUMNS = (
    "id, camera, hazard, lat, lon, place, region, first_seen, last_seen, confidence, sightings, pin_s, "
    "caption_en, caption_ko, caption_confidence, snapshot_key, revision, late, verdict, reviewed_by, reviewed_at, "
    "review_note"
)
# Half of the cameras in the capital's region, the others across the country.
_TOWNS = ((37.55, 126.98, 0.5, 0.15), (35.17, 129.07, 0.15, 0.08), (36.3, 127.8, 0.35, 0.9))


def _cameras(rng: random.Random) -> list[tuple[str, float, float]]:
    made = []
    for number in range(_CAMERAS):
        lat, lon, _, spread = rng.choices(_TOWNS, [town[2] for town in _TOWNS])[0]
        made.append((f"camera-{number}", rng.gauss(lat, spread), rng.gauss(lon, spread)))
    return made


def _incidents(count: int, now: datetime, rng: random.Random) -> Iterator[tuple[Any, ...]]:
    """Rows in the order they were opened, evenly over a year; guns are rare, and one in ten was reviewed."""
    cameras = _cameras(rng)
    begun = int((now - timedelta(days=_DAYS)).timestamp() * 1e6)
    step = int(_DAYS * 86_400 * 1e6 / count)
    for number in range(1, count + 1):
        camera, lat, lon = cameras[rng.randrange(_CAMERAS)]
        hazard = rng.choices(HAZARDS, (60, 30, 2, 8))[0]
        at = begun + step * number
        en = f"{hazard.capitalize()} at {camera}, Seodaemun-gu, Seoul: in the middle of the picture, 2 people in view."
        ko = f"{camera}(서울 서대문구)에서 감지되었습니다. 화면 가운데에 보이고, 사람 2명이 함께 보입니다."
        key = f"{number % 256:02x}/{number:032x}.jpg"
        yield (
            number, camera, hazard, lat, lon, f"Site of {camera}", "Seoul", at, at + rng.randrange(600) * 1_000_000,
            0.8, 12, 0.9, en, ko, 0.8, key, number, 0,
            rng.choices(("", "acknowledged", "false_alarm"), (90, 5, 5))[0], "kim", at + 900_000_000, "seen",
        )  # fmt: skip


def _fill_sqlite(path: Path, count: int, now: datetime) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        marks = ", ".join("?" * len(_COLUMNS.split(",")))
        db.executemany(f"INSERT INTO incidents ({_COLUMNS}) VALUES ({marks})", _incidents(count, now, random.Random(7)))
        db.execute("UPDATE counter SET value = ?", (count,))


@contextlib.contextmanager
def _mariadb(folder: Path) -> Iterator[tuple[str, Callable[[str], None]]]:
    """A server in that folder: a URL of an empty database, and a function that runs SQL in it."""
    server = MariaDB(folder)
    server.start()

    def run(sql: str) -> None:
        subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={folder}/s.sock", "--user=root", "bongsu", "-e", sql], check=True
        )

    try:
        # Enough for a million incidents; the default is for a laptop.
        run(f"set global innodb_buffer_pool_size = {512 * 2**20}")
        yield server.url, run
    finally:
        server.stop()


def _fill_mariadb(folder: Path, count: int, now: datetime, run: Callable[[str], None]) -> None:
    table = folder / "incidents.tsv"
    with table.open("w", encoding="utf-8") as file:
        for row in _incidents(count, now, random.Random(7)):
            file.write("\t".join(map(str, row)) + "\n")
    run(f"load data infile '{table}' into table incidents character set utf8mb4 ({_COLUMNS})")
    run(f"update counter set value = {count}")
    table.unlink()


def _questions(now: datetime, rng: random.Random) -> dict[str, Callable[[], dict[str, Any]]]:
    """The queries: each function makes the arguments of one."""
    cameras = _cameras(random.Random(7))

    def since() -> datetime:
        # From the last minute to the whole year, uniform in the logarithm.
        return now - timedelta(seconds=math.exp(rng.uniform(math.log(60), math.log(_DAYS * 86_400))))

    def page() -> Position:
        # Anywhere in the year, as by a client that reads all pages.
        return Position(now - timedelta(days=rng.uniform(0, _DAYS)), rng.randrange(1, 10**6))

    def box() -> tuple[float, float, float, float]:
        # From a street to half the country; around a camera, or anywhere.
        _, lat, lon = rng.choice(cameras)
        if rng.random() < 0.3:
            lat, lon = rng.uniform(33.5, 38.5), rng.uniform(126, 129.5)
        half = math.exp(rng.uniform(math.log(0.005), math.log(1.5)))
        return lon - half, lat - half, lon + half, lat + half

    return {
        "newest": dict,
        "since": lambda: {"since": since()},
        "bbox": lambda: {"bbox": box()},
        "bbox and since": lambda: {"bbox": box(), "since": since()},
        "bbox, guns only": lambda: {"bbox": box(), "hazards": ("gun",)},
        "guns only": lambda: {"hazards": ("gun",)},
        "one camera": lambda: {"camera": rng.choice(cameras)[0]},
        "until": lambda: {"until": since()},
        "bbox and until": lambda: {"bbox": box(), "until": since()},
        "open": lambda: {"statuses": frozenset({"open"})},
        "closed": lambda: {"statuses": frozenset({"closed"})},
        "false alarms": lambda: {"statuses": frozenset({"false_alarm"})},
        "bbox, acknowledged": lambda: {"bbox": box(), "statuses": frozenset({"acknowledged"})},
        "bbox, false alarms since": lambda: {"bbox": box(), "since": since(), "statuses": frozenset({"false_alarm"})},
        "a page anywhere": lambda: {"after": page()},
        "a page anywhere, guns only": lambda: {"after": page(), "hazards": ("gun",)},
        "a page anywhere, bbox": lambda: {"after": page(), "bbox": box()},
    }


async def _measure(name: str, url: str, count: int, now: datetime) -> list[tuple[str, str, str]]:
    store = await Store.open(url)
    try:
        # The round trip to the database, under the present load of the machine.
        table = [(f"{name}: a query for one number, for comparison", await _time(lambda: store.revisions.newest), "")]
        for what, ask in _questions(now, random.Random(11)).items():
            measured = await _time(lambda ask=ask: functools.partial(store.incidents.find, Wanted(**ask())))
            table.append((f"{name}: {what}, 200 of {count:,} incidents", measured, AIM))
    finally:
        await store.close()
    return table


async def _time(prepare: Callable[[], Callable[[], Awaitable[object]]]) -> str:
    took_ms = []
    for number in range(QUERIES + 10):
        query = prepare()
        begun = time.perf_counter()
        await query()
        # The first ones meet cold caches.
        if number >= 10:
            took_ms.append((time.perf_counter() - begun) * 1000)
    took_ms.sort()
    return f"p95 {took_ms[int(QUERIES * 0.95)]:.1f} ms, p50 {took_ms[QUERIES // 2]:.1f}, max {took_ms[-1]:.1f}"


async def _create(url: str) -> None:
    await (await Store.open(url)).close()


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    count, now = max(1000, int(INCIDENTS * scale)), utc_now()
    table = []
    with tempfile.TemporaryDirectory(prefix="bongsu-") as name:
        folder = Path(name)
        url = f"sqlite+aiosqlite:///{folder}/bench.db"
        asyncio.run(_create(url))
        _fill_sqlite(folder / "bench.db", count, now)
        table += asyncio.run(_measure("SQLite", url, count, now))
        (folder / "bench.db").unlink()
        try:
            with _mariadb(folder / "maria") as (url, run):
                asyncio.run(_create(url))
                _fill_mariadb(folder, count, now, run)
                table += asyncio.run(_measure("MariaDB", url, count, now))
        except ServerError as error:
            table.append(("MariaDB", f"not measured: {error}", AIM))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    for row in rows(parser.parse_args().scale):
        print(" | ".join(row), flush=True)
