"""Queues by region on a real RabbitMQ, with real detectors: whose burst goes where, and what a region's loss costs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from functions import Event, Frame, decode, new_id, utc_now
from functions.broker import Broker, connect
from functions.topology import REGION_WAIT_S, queues, read_regions
from motion.burst import CapturedBurst
from motion.config import Camera, Place
from motion.outbox import Outbox
from tests.servers import Rabbit, rabbit_tools
from tests.test_kill import motion_events

ROOT = Path(__file__).parents[1]
REGIONS = "Seoul, Incheon"


@pytest.fixture
def rabbit(tmp_path: Path) -> Iterator[Rabbit]:
    if rabbit_tools() is None:
        pytest.skip("no rabbitmq-server: apt-get install rabbitmq-server")
    server = Rabbit(tmp_path / "rabbit")
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Detector:
    """A real detector, of a region or the shared one."""

    def __init__(self, folder: Path, url: str, region: str = "") -> None:
        self._log = folder / f"{region or 'shared'}.log"
        environment = {"BONGSU_BROKER_URL": url, "BONGSU_REGIONS": REGIONS, "BONGSU_REGION": region}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "functions", "detect"],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def handled(self) -> list[str]:
        """Ids of the bursts that it took, each as often as it did."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line["event_id"] for line in lines if line["event"] == "event_handled"]


@asynccontextmanager
async def detector(folder: Path, url: str, region: str = "") -> AsyncIterator[Detector]:
    started = Detector(folder, url, region)
    try:
        yield started
    finally:
        started.process.terminate()
        await asyncio.to_thread(started.process.wait, 60)


async def watch(outbox: Outbox, region: str, count: int) -> list[str]:
    """Publish bursts of a burning camera as motion does; their ids."""
    frames = motion_events(1)[0].frames
    camera = Camera.model_validate(
        {"id": f"{region}-1", "url": "rtsp://x/1", "place": Place(lat=37.5, lon=127.0, name="gate", region=region)}
    )
    sent = []
    for _ in range(count):
        now = utc_now()
        shown = tuple(Frame(f.jpeg, now + timedelta(seconds=i / 4)) for i, f in enumerate(frames))
        sent.append(new_id())
        outbox.put_burst(CapturedBurst(camera, now, shown, id=sent[-1]))
        await outbox.flush()
    return sent


async def found(broker: Broker, count: int) -> list[Event]:
    """So many hazards, and that no other follows at once."""
    events = []
    async with asyncio.timeout(90), broker.consume(["fire.probe"], prefetch=100) as consumer:
        while len(events) < count:
            delivery = await consumer.get()
            assert delivery is not None
            events.append(decode(delivery.message.body))
            await delivery.ack()
        assert await consumer.get(1) is None
    return events


@pytest.mark.slow
@pytest.mark.connected
@pytest.mark.timeout(600)
@pytest.mark.parametrize("replicated", ["", "1"], ids=["one-node", "replicated"])
async def test_region_without_detector_uses_the_shared_one(
    tmp_path: Path, rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, replicated: str
) -> None:
    monkeypatch.setenv("BONGSU_MOTION_REPLICATED", replicated)
    broker = await connect(rabbit.url)
    await broker.declare(queues(["fire.probe"]))
    outbox = Outbox(lambda: connect(rabbit.url), regions=read_regions(REGIONS))
    async with detector(tmp_path, rabbit.url) as shared:
        async with detector(tmp_path, rabbit.url, "Seoul") as own:
            # Each its own; a region without a queue has the shared one.
            near, other = await watch(outbox, "Seoul", 3), await watch(outbox, "Daegu", 2)
            assert {e.id for e in await found(broker, 5)} == {*near, *other}
            assert (sorted(own.handled), sorted(shared.handled)) == (sorted(near), sorted(other))
            own.process.kill()
            await asyncio.to_thread(own.process.wait)

            # Nobody there, and in Incheon nobody ever was: they come once each, when they have waited long enough.
            stranded = [*await watch(outbox, "Seoul", 3), *await watch(outbox, "incheon", 1)]
            moved = await found(broker, 4)
            assert sorted(e.id for e in moved) == sorted(stranded)
            assert sorted(shared.handled) == sorted([*other, *stranded])
            for event in moved:
                published, taken = event.trace[0].done_at, event.trace[1].got_at
                assert (taken - published).total_seconds() > REGION_WAIT_S - 1

        # Back again, its queue is its own.
        async with detector(tmp_path, rabbit.url, "Seoul") as own:
            again = await watch(outbox, "Seoul", 3)
            back = await found(broker, 3)
            assert {e.id for e in back} == set(again)
            assert sorted(own.handled) == sorted([*near, *again])
        assert not set(again) & set(shared.handled)
    for name in ("motion", "motion.seoul", "motion.incheon"):
        assert (await broker.depth(name)).ready == 0
    assert await broker.dead_letters() == []
    await outbox.close()
    await broker.close()
