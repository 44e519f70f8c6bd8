"""Events, pictures and open stores for the tests of this room."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from functions import Box, Caption, Detection, Event, Frame, Place, Stage
from notify.map.snapshots import Snapshots
from notify.map.store import Store

START = datetime(2026, 3, 2, 5, 3, tzinfo=UTC)
MakeEvent = Callable[..., Event]


def draw_street(width: int = 640, height: int = 360) -> bytes:
    """A drawn street with fine texture everywhere, so that a mosaic shows; as JPEG."""
    noise = np.random.default_rng(7).integers(0, 255, (height, width, 3), dtype=np.uint8)
    written, jpeg = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert written
    return jpeg.tobytes()


@pytest.fixture(scope="session")
def street() -> bytes:
    """A drawn picture, 640 by 360."""
    return draw_street()


@pytest.fixture
def make_event(street: bytes) -> MakeEvent:
    """Builds an event `seconds` after the tests' fixed start; keywords replace any field."""

    def make(type_: str = "fire", *, id_: str = "event-1", seconds: float = 0.0, **fields: object) -> Event:
        at = START + timedelta(seconds=seconds)
        hazard = fields.get("hazard") or (type_ if type_ in ("accident", "fire", "gun", "knife") else None)
        given: dict[str, object] = {
            "camera": "gate-1",
            "place": Place(lat=37.5585, lon=126.9370, name="Sinchon Market"),
            "captured_at": at,
            "hazard": hazard,
            "trace": (Stage("motion", at, at + timedelta(seconds=0.5)),),
        }
        if hazard:
            given["detections"] = (Detection(str(hazard), 0.8, Box(0.05, 0.4, 0.25, 0.6)),)
            given["searched"] = ("fire", "person")
        if type_ == "captioned":
            given |= {"snapshot": street, "caption": Caption(en="Fire at Sinchon Market.", ko="신촌시장에서 화재.")}
        elif hazard:
            given["frames"] = (Frame(street, at),)
        elif type_ == "camera":
            given["status"] = "live"
        return Event(id=id_, type=type_, **(given | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """A database that is not there yet."""
    return f"sqlite+aiosqlite:///{tmp_path}/state/bongsu.db"


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MariaDB of the tests' own; yields its `host:port`."""
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db") and shutil.which("mariadb")):
        pytest.skip("no MariaDB server is installed here")
    folder = tmp_path_factory.mktemp("mariadb", numbered=True)
    data, listening = folder / "data", folder / "s"
    subprocess.run(
        ["mariadb-install-db", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True, capture_output=True,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={listening}", f"--port={port}",
            "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0",
            *(["--user=root"] if os.geteuid() == 0 else []),
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        account = "create user bongsu@'127.0.0.1' identified by 'bongsu'; grant all on *.* to bongsu@'127.0.0.1'"
        client = ["mariadb", "--no-defaults", f"--socket={listening}", "--user=root", "-e", account]
        for _ in range(100):
            if subprocess.run(client, capture_output=True, check=False).returncode == 0:
                break
            assert server.poll() is None, "mariadbd ended"
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture
async def mysql_url(mariadb: str) -> str:
    """An empty database in it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    server = create_async_engine(f"mysql+aiomysql://bongsu:bongsu@{mariadb}/mysql")
    async with server.begin() as connection:
        await connection.execute(text(f"create database {name} character set utf8mb4"))
    await server.dispose()
    return f"mysql+aiomysql://bongsu:bongsu@{mariadb}/{name}"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """An empty store."""
    opened = await Store.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    """An empty picture store."""
    return Snapshots.open(str(tmp_path / "snapshots"))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str) -> None:
    """The environment of a function that uses this test's database and pictures."""
    monkeypatch.setenv("BONGSU_DATABASE_URL", database_url)
    monkeypatch.setenv("BONGSU_SNAPSHOT_URL", str(tmp_path / "snapshots"))
    # The tests' events are of one fixed day.
    monkeypatch.setenv("BONGSU_POST_MAX_AGE_S", "0")
