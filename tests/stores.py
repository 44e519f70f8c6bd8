"""Events, pictures and open stores: the fixtures of every room that keeps or shows what happened."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from api.server import Server, Site, listen, open_site
from api.settings import Settings
from functions import HAZARDS, Box, Caption, Detection, Event, Frame, Place, Stage
from store import Store
from store.snapshots import Snapshots
from tests.servers import ServerError, database_server
from web.keys import Role, new_key

# What a conftest takes by `import *`, so that the list stands here alone.
__all__ = [
    "any_database_url",
    "database_url",
    "environment",
    "keys",
    "make_event",
    "mariadb",
    "mysql_url",
    "serve",
    "snapshots",
    "store",
    "street",
]

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
        hazard = fields.get("hazard") or (type_ if type_ in HAZARDS else None)
        given: dict[str, object] = {
            "camera": "gate-1",
            "place": Place(lat=37.5585, lon=126.9370, name="Sinchon Market"),
            "captured_at": at,
            "hazard": hazard,
            "trace": (Stage("motion", at, at + timedelta(seconds=0.5)),),
        }
        if hazard:
            given["detections"] = (Detection(str(hazard), 0.8, Box(0.05, 0.4, 0.25, 0.6)),)
        if type_ == "captioned":
            given |= {"snapshot": street, "caption": Caption(en="Fire at Sinchon Market.", ko="신촌시장에서 화재.")}
        elif hazard:
            given |= {"frame": Frame(street, at), "labels_searched": ("fire", "person")}
        elif type_ == "camera":
            given["status"] = "live"
        return Event(id=id_, type=type_, **(given | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there yet; an empty one of a server where BONGSU_TEST_DATABASE=server (tests/mysql.sh)."""
    if os.environ.get("BONGSU_TEST_DATABASE") == "server":
        return str(request.getfixturevalue("mysql_url"))
    return f"sqlite+aiosqlite:///{tmp_path}/state/bongsu.db"


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.connected)])
def any_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there yet, or an empty one of a server: what uses it is tested on both."""
    if request.param == "mysql":
        return str(request.getfixturevalue("mysql_url"))
    return f"sqlite+aiosqlite:///{tmp_path}/state/bongsu.db"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[URL]:
    """A MariaDB or MySQL of the tests' own, or that of BONGSU_TEST_MYSQL_URL, whose account may create databases."""
    if given := os.environ.get("BONGSU_TEST_MYSQL_URL"):
        yield make_url(given)
        return
    folder = Path(tempfile.mkdtemp(prefix="bongsu-"))
    account = (
        "CREATE USER IF NOT EXISTS bongsu@'127.0.0.1' IDENTIFIED BY 'bongsu'",
        "GRANT ALL ON *.* TO bongsu@'127.0.0.1'",
    )
    try:
        server = database_server(folder, account, ["--innodb-flush-log-at-trx-commit=0"])
        server.start()
    except ServerError as error:
        shutil.rmtree(folder, ignore_errors=True)
        # Who names other servers (tests/mysql.sh) wants to see their tests run.
        say = pytest.fail if os.environ.get("CI") or os.environ.get("BONGSU_TEST_SERVERS") else pytest.skip
        say(f"{error}, or set BONGSU_TEST_MYSQL_URL")
    yield make_url(f"mysql+aiomysql://bongsu:bongsu@127.0.0.1:{server.port}")
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def mysql_url(mariadb: URL) -> AsyncIterator[str]:
    """An empty database in it."""
    name = f"bongsu_test_{uuid.uuid4().hex[:12]}"
    server = create_async_engine(mariadb.set(database="information_schema"), isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.execute(text(f"create database {name} character set utf8mb4"))
    yield mariadb.set(database=name).render_as_string(hide_password=False)
    async with server.connect() as connection:
        await connection.execute(text(f"drop database {name}"))
    await server.dispose()


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


@pytest.fixture
def keys(tmp_path: Path) -> dict[Role, str]:
    """A viewer's and an operator's key; their lines are in `keys` of the test's folder."""
    made = {role: new_key(f"{role}-1", role) for role in ("viewer", "operator")}
    lines = [f"{key.name} {key.role} {key.digest}" for _, key in made.values()]
    (tmp_path / "keys").write_text("# who may do what\n\n" + "\n".join(lines) + "\n")
    return {role: text for role, (text, _) in made.items()}


@contextlib.asynccontextmanager
async def serving(settings: Settings, port: int = 0) -> AsyncIterator[tuple[str, Site]]:
    """A real server on that port, or a free one: its address and its site."""
    async with open_site(settings) as site:
        with listen("127.0.0.1", port) as listener:
            server = Server(site)
            task = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}", site
            finally:
                server.should_exit = True
                async with asyncio.timeout(20):
                    await task


@contextlib.contextmanager
def serving_in_thread(settings: Settings, prepare: Callable[[Site], Awaitable[object]] | None = None) -> Iterator[str]:
    """A real server in a thread of its own, filled by `prepare` before it is handed over: its address."""
    ready, leave = threading.Event(), threading.Event()
    found: list[str] = []

    async def run() -> None:
        async with serving(settings) as (url, site):
            if prepare is not None:
                await prepare(site)
            found.append(url)
            ready.set()
            while not leave.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    leave.set()
    thread.join(30)


@pytest.fixture
def serve() -> Callable[..., contextlib.AbstractAsyncContextManager[tuple[str, Site]]]:
    """Starts a real server with these settings."""
    return serving
