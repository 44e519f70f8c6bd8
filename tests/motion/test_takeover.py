"""Whole workers, and whole processes, on one API server: a camera changes hands and is never left alone for long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from functions.broker import connect
from functions.broker.memory import MemoryBroker
from functions.event import decode
from functions.topology import queues
from motion.leases import Leases
from motion.settings import Settings
from motion.worker import Worker
from tests.motion.lease_server import LeaseServer

LEASE_S = 2


@pytest.fixture
def server() -> Iterator[LeaseServer]:
    server = LeaseServer()
    yield server
    server.close()


def write(path: Path, clip: Path, **homes: str) -> Path:
    """A file of cameras: id and home node of each, all in Seoul but those of edge-9."""

    def place(node: str) -> dict[str, Any]:
        return {"lat": 37.5, "lon": 127, "name": "Gate", "region": "Incheon" if node == "edge-9" else "Seoul"}

    cameras = [{"id": id_, "url": str(clip), "node": node, "place": place(node)} for id_, node in homes.items()]
    path.write_text(yaml.safe_dump({"cameras": cameras}))
    return path


class Site:
    def __init__(self, server: LeaseServer, folder: Path, cameras: Path) -> None:
        self.server, self.broker = server, MemoryBroker()
        self._account, self._cameras = server.account(folder / "account"), cameras

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[Worker]:
        async def give() -> MemoryBroker:
            return self.broker

        settings = Settings(name, "", self.server.url, self._account, LEASE_S)
        stop = asyncio.Event()
        worker = Worker(self._cameras, give, name, neighbours=Leases(settings))
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            async with asyncio.timeout(10):
                await task


def reads(worker: Worker) -> set[str]:
    return set(worker._running)


async def until(is_so: Any, within_s: float = 15.0) -> None:
    end_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end_s, "it was not so in time"
        await asyncio.sleep(0.05)


async def await_states(broker: MemoryBroker, wanted: dict[str, str]) -> None:
    """Wait until these are the last reported states of these cameras."""
    last: dict[str, str] = {}
    async with broker.consume(["camera.map"]) as consumer:
        while not wanted.items() <= last.items():
            delivery = await consumer.get(10)
            assert delivery is not None, f"only {last} was reported"
            event = decode(delivery.message.body)
            last[event.camera] = event.status
            await delivery.ack()


async def test_cameras_move_when_a_node_goes_and_returns(server: LeaseServer, tmp_path: Path, draw_clip: Any) -> None:
    cameras = write(tmp_path / "cameras.yaml", draw_clip(), a="edge-1", b="edge-2", c="edge-1", far="edge-9")
    site = Site(server, tmp_path, cameras)
    await site.broker.declare(queues(["camera.map"]))
    async with site.node("edge-2") as two:
        async with site.node("edge-1") as one:
            await until(lambda: reads(one) == {"a", "c"} and reads(two) == {"b"})
            unread = "lost: its edge node is down, and so is every other of its region"
            await await_states(site.broker, {"a": "live", "b": "live", "c": "live", "far": unread})
        await until(lambda: reads(two) == {"a", "b", "c"})
        assert REGISTRY.get_sample_value("bongsu_cameras_taken_over") == 2
        assert REGISTRY.get_sample_value("bongsu_cameras_unread") == 1
        await await_states(site.broker, {"a": "live", "c": "live"})
        async with site.node("edge-1") as one:
            await until(lambda: reads(one) == {"a", "c"})
            assert reads(two) == {"a", "b", "c"}  # until the other has settled
            await await_states(site.broker, {"a": "live", "c": "live"})
            await until(lambda: reads(two) == {"b"})
            # Handed over is not lost, neither for the public nor for an alert.
            assert REGISTRY.get_sample_value("bongsu_cameras_taken_over") == 0
            await asyncio.sleep(1.5)
            assert (await site.broker.depth("camera.map")).ready <= 1  # of `far`, which now falls to edge-1 to tell


async def test_a_camera_for_any_has_one_reader(server: LeaseServer, tmp_path: Path, draw_clip: Any) -> None:
    cameras = write(tmp_path / "cameras.yaml", draw_clip(), a="edge-1", b="edge-2", x="any", y="any", z="any")
    site = Site(server, tmp_path, cameras)
    async with site.node("edge-1") as one, site.node("edge-2") as two:
        await until(lambda: reads(one) | reads(two) == set("abxyz") and not reads(one) & reads(two))


async def test_node_without_leases_reads_its_own_cameras(server: LeaseServer, tmp_path: Path, draw_clip: Any) -> None:
    clip = draw_clip()
    path = write(tmp_path / "cameras.yaml", clip, a="edge-1", b="edge-2", x="any")
    site = Site(server, tmp_path, path)
    server.is_away = True
    async with site.node("edge-1") as one:
        await until(lambda: reads(one) == {"a", "x"})
        server.is_away = False
        await until(lambda: reads(one) == {"a", "b", "x"})
        server.is_away = True
        await asyncio.sleep(2 * LEASE_S)
        assert reads(one) == {"a", "b", "x"}
        write(path, clip, a="edge-1", b="edge-2")
        await until(lambda: reads(one) == {"a", "b"})


class Process:
    """`python -m motion` as its pod starts it."""

    def __init__(self, folder: Path, node: str, server: LeaseServer, cameras: Path, lease_s: int) -> None:
        environment = {
            **os.environ,
            "BONGSU_BROKER_URL": f"sqlite:///{folder}/broker.db",
            "BONGSU_CAMERAS": str(cameras),
            "BONGSU_NODE": node,
            "BONGSU_LEASE_URL": server.url,
            "BONGSU_LEASE_ACCOUNT": str(server.account(folder / "account")),
            "BONGSU_LEASE_S": str(lease_s),
        }
        environment.pop("BONGSU_METRICS_PORT", None)
        self.log = folder / f"{node}.log"
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "motion"], cwd=Path(__file__).parents[2], env=environment, stderr=log
            )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        self._process.terminate()
        return self._process.wait(20)

    def says(self, event: str) -> int:
        return self.log.read_text().count(f'"event": "{event}"')


@pytest.mark.slow
async def test_killed_process_gets_its_camera_back(server: LeaseServer, tmp_path: Path, draw_clip: Any) -> None:
    lease_s = 4
    cameras = write(tmp_path / "cameras.yaml", draw_clip(), a="edge-1", b="edge-2")
    broker = await connect(f"sqlite:///{tmp_path}/broker.db")
    with contextlib.ExitStack() as stack:
        one, two = (Process(tmp_path, name, server, cameras, lease_s) for name in ("edge-1", "edge-2"))
        stack.callback(one.kill)
        stack.callback(two.kill)
        await until(lambda: one.says("camera_live") == 1 and two.says("camera_live") == 1, 30)
        await until(lambda: server.holders() == {"edge-1", "edge-2"})
        one.kill()
        killed_at_s = time.monotonic()
        await until(lambda: two.says("camera_taken_over") == 1 and two.says("camera_live") == 2, 60)
        assert time.monotonic() - killed_at_s < 60
        again = Process(tmp_path, "edge-1", server, cameras, lease_s)
        stack.callback(again.kill)
        await until(lambda: again.says("camera_live") == 2, 30)  # one log for both of its lives
        await until(lambda: two.says("camera_handed_over") == 1, 30)
        assert again.end() == 0
        assert two.end() == 0
    await broker.close()
