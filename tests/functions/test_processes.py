"""Real worker processes on the embedded broker: started, killed, stopped; nothing may be lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import pytest

from functions import Event, HazardSeen, Place, decode, encode, new_id, telemetry, utc_now
from functions.broker import BrokerError, Depth, connect
from functions.topology import queues

ROOT = Path(__file__).parents[2]

WORKER = """
import asyncio, os, time
from functions import Event, on

@on("accident")
async def call(event: Event) -> None:
    with open(os.environ["LOG"], "a") as log:
        log.write(f"begin {event.id}\\n")
    await asyncio.sleep(float(os.environ.get("WORK_S", "0")))
    with open(os.environ["LOG"], "a") as log:
        log.write(f"done {event.id}\\n")
"""

DIES = """
import os
from functions import Event, on

@on("accident")
async def call(event: Event) -> None:
    if event.camera == "poison":
        os._exit(139)
    with open(os.environ["LOG"], "a") as log:
        log.write(f"done {event.id}\\n")
"""

HANGS = """
import time
from functions import Event, on

@on("accident", timeout_s=0.2)
def call(event: Event) -> None:
    time.sleep(1000)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "hospital.py").write_text(WORKER)
    return tmp_path


@contextmanager
def worker(place: Path, stderr: int | IO[str] = subprocess.PIPE, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "functions", str(place / "hospital.py")],
        env={
            **os.environ,
            "BONGSU_BROKER_URL": f"sqlite:///{place}/broker.db",
            "LOG": str(place / "log"),
            "PYTHONPATH": str(ROOT),
            **environment,
        },
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def accident() -> Event:
    place = Place(37.5, 127.0, "gate")
    return HazardSeen(id=new_id(), hazard="accident", camera="gate-1", place=place, captured_at=utc_now())


async def publish(place: Path, *events: Event) -> None:
    broker = await connect(f"sqlite:///{place}/broker.db")
    await broker.declare(queues(["accident.hospital"]))
    await broker.publish(*map(encode, events))
    await broker.close()


def log_of(place: Path) -> list[str]:
    path = place / "log"
    return path.read_text().splitlines() if path.exists() else []


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited 20 s in vain"
        time.sleep(0.02)


async def test_one_new_file_receives_accidents(place: Path) -> None:
    event = accident()
    with worker(place) as process:
        await publish(place, event)
        until(lambda: f"done {event.id}" in log_of(place))
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


async def test_a_log_that_cannot_be_written_stops_no_work(place: Path) -> None:
    event = accident()
    await publish(place, event)
    with Path("/dev/full").open("w") as full, worker(place, stderr=full):
        until(lambda: f"done {event.id}" in log_of(place))
        broker = await connect(f"sqlite:///{place}/broker.db")
        while (await broker.depth("accident.hospital")).unacked:
            await asyncio.sleep(0.02)
        assert await broker.depth("accident.hospital") == Depth(0, 0, 1)
        await broker.close()


async def test_kill_9_in_mid_work_loses_nothing(place: Path) -> None:
    event = accident()
    await publish(place, event)
    with worker(place, WORK_S="60") as process:
        until(lambda: f"begin {event.id}" in log_of(place))
        process.kill()
        process.wait()
    with worker(place):
        until(lambda: f"done {event.id}" in log_of(place))


async def test_sigterm_finishes_what_is_in_hand(place: Path) -> None:
    events = [accident() for _ in range(3)]
    await publish(place, *events)
    with worker(place, WORK_S="0.5") as process:
        until(lambda: f"begin {events[0].id}" in log_of(place))
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert log_of(place) == [f"begin {events[0].id}", f"done {events[0].id}"]
    broker = await connect(f"sqlite:///{place}/broker.db")
    assert (await broker.depth("accident.hospital")).ready == 2
    await broker.close()


async def test_an_event_that_kills_its_workers_takes_no_other_along(place: Path) -> None:
    (place / "hospital.py").write_text(DIES)
    poison, *others = [accident() for _ in range(4)]
    await publish(place, msgspec.structs.replace(poison, camera="poison"), *others)
    for _ in range(8):
        with worker(place) as process:
            assert process.wait(20) == 139
    with worker(place):
        until(lambda: {f"done {other.id}" for other in others} <= set(log_of(place)))
    broker = await connect(f"sqlite:///{place}/broker.db")
    assert [decode(letter.message.body).id for letter in await broker.dead_letters()] == [poison.id]
    await broker.close()


async def test_hung_handler_thread_does_not_outlive_sigterm(place: Path) -> None:
    (place / "hospital.py").write_text(HANGS)
    await publish(place, accident())
    with worker(place) as process:
        until(lambda: '"event_retried"' in process.stderr.readline())  # type: ignore[union-attr]
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert '"handler_abandoned"' in log


async def test_the_worker_serves_health_and_metrics(place: Path, unused_tcp_port: int) -> None:
    event = accident()
    await publish(place, event)
    base = f"http://127.0.0.1:{unused_tcp_port}"
    with worker(place, BONGSU_METRICS_PORT=str(unused_tcp_port)):
        until(lambda: f"done {event.id}" in log_of(place))
        assert urllib.request.urlopen(f"{base}/healthz").status == 200
        wanted = 'bongsu_events_handled_total{function="hospital",outcome="ok",type="accident"} 1.0'
        until(lambda: wanted in urllib.request.urlopen(f"{base}/metrics").read().decode())


async def test_silent_metrics_client_is_dropped(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    assert telemetry._Handler.timeout is not None
    monkeypatch.setattr(telemetry._Handler, "timeout", 0.1)
    telemetry._serve(unused_tcp_port)
    with socket.create_connection(("127.0.0.1", unused_tcp_port), timeout=20) as silent:
        assert await asyncio.to_thread(silent.recv, 1) == b""


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"BONGSU_METRICS_PORT": "http"}, "BONGSU_METRICS_PORT"),
        ({"BONGSU_LOG_LEVEL": "loud"}, "BONGSU_LOG_LEVEL"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(place: Path, environment: dict[str, str], message: str) -> None:
    with worker(place, **environment) as process:
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 1
    (line,) = errors.strip().splitlines()
    assert message in line


async def test_a_file_that_is_no_broker_is_named(tmp_path: Path) -> None:
    (tmp_path / "broker.db").write_text("this is not a database " * 100)
    with pytest.raises(BrokerError, match="not a broker database"):
        await connect(f"sqlite:///{tmp_path}/broker.db")


async def test_a_file_of_an_older_version_is_brought_up_to_date(place: Path) -> None:
    event = accident()
    await publish(place, event)
    with sqlite3.connect(place / "broker.db") as db:
        db.execute("ALTER TABLE queues DROP COLUMN published")
        db.execute("ALTER TABLE messages DROP COLUMN deaths")
        db.execute("PRAGMA user_version = 0")
    broker = await connect(f"sqlite:///{place}/broker.db")
    assert (await broker.depth("accident.hospital")).ready == 1
    await broker.close()


async def test_a_file_of_a_newer_version_is_refused(place: Path) -> None:
    await publish(place, accident())
    with sqlite3.connect(place / "broker.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(BrokerError, match="newer version"):
        await connect(f"sqlite:///{place}/broker.db")


async def test_an_unknown_broker_url_shows_no_password() -> None:
    with pytest.raises(BrokerError, match="redis") as caught:
        await connect("redis://user:secret@host")
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small filesystem of its own")
async def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    broker = await connect(f"sqlite:///{tmp_path}/broker.db")
    await broker.declare(queues(["accident.hospital"]))
    await broker.publish(encode(accident()))
    # A limit on the file's size is what a full disk looks like to SQLite, and needs no root.
    await broker._thread.do(lambda db: db.execute("PRAGMA max_page_count = 30"))  # type: ignore[attr-defined]
    frame = __import__("functions").Frame(bytes(1_000_000), utc_now())
    large = __import__("msgspec").structs.replace(accident(), frame=frame)
    with pytest.raises(BrokerError, match="disk is full"):
        await broker.publish(encode(large))
    await broker._thread.do(lambda db: db.execute("PRAGMA max_page_count = 100000"))  # type: ignore[attr-defined]
    await broker.publish(encode(large))
    assert (await broker.depth("accident.hospital")).ready == 2
    await broker.close()


async def test_locked_file_does_not_lose_work_in_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.broker.sqlite_thread._BUSY_S", 0.1)
    monkeypatch.setattr("functions.broker.sqlite_thread._RENEW_S", 0.1)
    monkeypatch.setattr("functions.broker.sqlite_sql.LEASE_S", 0.5)
    broker = await connect(f"sqlite:///{tmp_path}/broker.db")
    await broker.declare(queues(["accident.hospital"]))
    await broker.publish(encode(accident()))
    other = sqlite3.connect(tmp_path / "broker.db", isolation_level=None)
    with pytest.raises(BrokerError, match="locked"):
        async with broker.consume(["accident.hospital"]) as consumer:
            delivery = await consumer.get(5)
            assert delivery is not None
            # As a backup does, or a replica that is stopped in mid-transaction.
            other.execute("BEGIN IMMEDIATE")
            await delivery.ack()
    other.execute("ROLLBACK")
    async with broker.consume(["accident.hospital"]) as consumer:
        assert await consumer.get(5) is not None
    other.close()
    await broker.close()


async def test_a_clock_that_is_set_back_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = await connect(f"sqlite:///{tmp_path}/broker.db")
    await broker.declare(queues(["accident.hospital"]))
    await broker.publish(encode(accident()), encode(accident()))
    async with broker.consume(["accident.hospital"]) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        await delivery.retry("feed is away", after_s=60)
        an_hour_ago = time.time() - 3600
        monkeypatch.setattr(time, "time", lambda: an_hour_ago)
        for attempt in (2, 1):
            delivery = await consumer.get(5)
            assert delivery is not None
            assert delivery.attempt == attempt
            await delivery.ack()
    await broker.close()


async def test_broker_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        broker = await connect(f"sqlite:///{tmp_path}/state/broker.db")
    finally:
        os.umask(before)
    folder = tmp_path / "state"
    assert {path.name: path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {
        "state": 0, "broker.db": 0, "broker.db-wal": 0, "broker.db-shm": 0,
    }  # fmt: skip
    await broker.close()
