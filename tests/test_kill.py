"""`kill -9` of each real worker in mid-work: what it had in hand is done by the next one, once."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from functions import (
    Box,
    Caption,
    Captioned,
    Detection,
    Event,
    Frame,
    HazardSeen,
    MotionBurst,
    Place,
    decode,
    encode,
    new_id,
    utc_now,
)
from functions.broker import Broker, connect
from functions.signature import Signer
from functions.topology import queues

ROOT = Path(__file__).parents[1]
PLACE = Place(37.5446, 127.0557, "Seongsu depot")


@asynccontextmanager
async def worker(state: Path, target: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    environment = {
        "PYTHONPATH": str(ROOT),
        "BONGSU_BROKER_URL": f"sqlite:///{state}/broker.db",
        "BONGSU_DATABASE_URL": f"sqlite+aiosqlite:///{state}/bongsu.db",
        "BONGSU_SNAPSHOT_URL": str(state / "snapshots"),
    }
    with (state / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "functions", target],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


async def until_done(broker: Broker, queue: str) -> None:
    async with asyncio.timeout(60):
        while (depth := await broker.depth(queue)).ready or depth.unacked:
            await asyncio.sleep(0.05)


async def kill_in_mid_work(state: Path, broker: Broker, target: str, queue: str, sent: int) -> None:
    """Start a worker, kill it while it holds messages and has not done them all, start another, let it finish."""
    async with worker(state, target) as process, asyncio.timeout(60):
        while not (depth := await broker.depth(queue)).unacked:
            await asyncio.sleep(0.001)
        process.kill()
    left = await broker.depth(queue)
    assert left.ready + (left.unacked or 0) > 0, f"all {sent} were done before the kill: {depth}"
    async with worker(state, target):
        await until_done(broker, queue)
    assert await broker.dead_letters() == []


async def published(broker: Broker, queue: str) -> list[Event]:
    events = []
    async with broker.consume([queue], prefetch=100) as consumer:
        while (delivery := await consumer.get(0.2)) is not None:
            events.append(decode(delivery.message.body))
            await delivery.ack()
    return events


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    opened = await connect(f"sqlite:///{tmp_path}/broker.db")
    yield opened
    await opened.close()


def motion_events(count: int) -> list[MotionBurst]:
    with av.open(str(ROOT / "local/demo/media/fire.mp4")) as container:
        images = [
            f.to_ndarray(format="bgr24") for i, f in enumerate(container.decode(video=0)) if i in (90, 92, 95, 97)
        ]
    now = utc_now()
    frames = tuple(
        Frame(cv2.imencode(".jpg", image)[1].tobytes(), now + timedelta(seconds=i / 4))
        for i, image in enumerate(images)
    )
    return [
        MotionBurst(id=new_id(), camera="depot-1", place=PLACE, captured_at=now, frames=frames) for _ in range(count)
    ]


def fires(count: int) -> list[HazardSeen]:
    now = utc_now()
    picture = cv2.imencode(".jpg", np.full((360, 640, 3), 90, np.uint8))[1].tobytes()
    return [
        HazardSeen(
            id=new_id(),
            hazard="fire",
            camera="depot-1",
            place=PLACE,
            captured_at=now + timedelta(seconds=i / 10),
            frame=Frame(picture, now),
            detections=(Detection("fire", 0.8, Box(0.2, 0.2, 0.4, 0.5)),),
            labels_searched=("fire", "person"),
        )
        for i in range(count)
    ]


async def test_detect_killed_in_mid_work_loses_no_burst(tmp_path: Path, broker: Broker) -> None:
    sent = motion_events(6)
    await broker.declare(queues(["motion", "fire.probe"]))
    await broker.publish(*map(encode, sent))
    await kill_in_mid_work(tmp_path, broker, "detect", "motion", len(sent))
    assert {e.id for e in await published(broker, "fire.probe")} == {e.id for e in sent}


async def test_caption_killed_in_mid_work_loses_no_hazard(tmp_path: Path, broker: Broker) -> None:
    sent = fires(30)
    await broker.declare(queues(["fire.caption", "captioned.probe"]))
    await broker.publish(*map(encode, sent))
    await kill_in_mid_work(tmp_path, broker, "notify.caption", "fire.caption", len(sent))
    got = await published(broker, "captioned.probe")
    assert {e.id for e in got} == {e.id for e in sent}
    assert all(e.snapshot for e in got)


async def test_map_killed_in_mid_work_keeps_every_sighting_once(tmp_path: Path, broker: Broker) -> None:
    sent = fires(60)
    await broker.declare(queues(["fire.map"]))
    await broker.publish(*map(encode, sent))
    await kill_in_mid_work(tmp_path, broker, "notify.map", "fire.map", len(sent))
    with closing(sqlite3.connect(tmp_path / "bongsu.db")) as db:
        assert {row[0] for row in db.execute("SELECT event_id FROM sightings")} == {e.id for e in sent}
        assert db.execute("SELECT sightings FROM incidents").fetchall() == [(len(sent),)]


async def test_post_killed_in_mid_work_posts_once(tmp_path: Path, broker: Broker) -> None:
    signer = Signer.from_environment()
    sent = [
        signer.sign(Captioned(
            id=e.id, hazard=e.hazard, camera=e.camera, place=e.place, captured_at=e.captured_at,
            detections=e.detections, caption=Caption("Fire", "화재"),
        ))
        for e in fires(60)
    ]  # fmt: skip
    await broker.declare(queues(["captioned.post"]))
    await broker.publish(*map(encode, sent))
    await kill_in_mid_work(tmp_path, broker, "notify.post", "captioned.post", len(sent))
    with closing(sqlite3.connect(tmp_path / "bongsu.db")) as db:
        assert db.execute("SELECT state, channel FROM posts").fetchall() == [("posted", "feed")]
