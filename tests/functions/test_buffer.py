"""The edge's buffer: in order, bounded, and through an end of its process."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from functions import CustomEvent, Event, Frame, HazardSeen, Message, MotionBurst, Place, new_id, on, utc_now
from functions.broker import BrokerError, TooLarge
from functions.broker.memory import MemoryBroker
from functions.buffer import EventBuffer
from functions.event import decode, encode
from functions.function import Function
from functions.runtime import run
from functions.topology import queues


def fire(age_s: float = 0.0, camera: str = "gate-1") -> HazardSeen:
    at = utc_now() - timedelta(seconds=age_s)
    return HazardSeen(id=new_id(), hazard="fire", camera=camera, place=Place(37.5, 127.0, "gate"), captured_at=at)


def buffer(folder: Path, *, max_bytes: int = 1_000_000, max_age_s: float = 60.0) -> EventBuffer:
    return EventBuffer(folder, max_bytes=max_bytes, max_age_s=max_age_s)


class Failing(MemoryBroker):
    """A broker that is unreachable while `is_away`."""

    is_away = True

    async def publish(self, *messages: Message) -> None:
        if self.is_away and any(m.routing_key != "motion" for m in messages):
            raise BrokerError("away")
        await super().publish(*messages)


async def taken(broker: MemoryBroker, count: int) -> list[Event]:
    events = []
    async with broker.consume(["fire.map"]) as consumer:
        for _ in range(count):
            delivery = await consumer.get(5)
            assert delivery is not None
            events.append(decode(delivery.message.body))
            await delivery.ack()
    return events


async def broker_with_queue() -> MemoryBroker:
    broker = MemoryBroker()
    await broker.declare(queues(["fire.map"]))
    return broker


async def test_what_waits_is_published_in_order_by_a_later_process_too(tmp_path: Path) -> None:
    events = [fire() for _ in range(5)]
    for event in events:
        assert buffer(tmp_path).put(event)
    broker = await broker_with_queue()
    assert await buffer(tmp_path).flush(broker, limit=2) == 2
    assert await buffer(tmp_path).flush(broker) == 3
    assert [e.id for e in await taken(broker, 5)] == [e.id for e in events]
    assert len(buffer(tmp_path)) == 0


async def test_only_what_is_old_is_flagged_late(tmp_path: Path) -> None:
    kept = buffer(tmp_path)
    kept.put(fire(age_s=45))
    kept.put(fire(age_s=1))
    broker = await broker_with_queue()
    await kept.flush(broker)
    assert [e.late for e in await taken(broker, 2)] == [True, False]


async def test_the_oldest_gives_way_when_the_buffer_is_full(tmp_path: Path) -> None:
    events = [fire() for _ in range(10)]
    size = len(encode(events[0]).body)
    kept = buffer(tmp_path, max_bytes=3 * size + size // 2)
    for event in events:
        kept.put(event)
    broker = await broker_with_queue()
    assert await kept.flush(broker) == 3
    assert [e.id for e in await taken(broker, 3)] == [e.id for e in events[-3:]]


async def test_what_was_kept_for_too_long_is_dropped(tmp_path: Path) -> None:
    kept = buffer(tmp_path, max_age_s=0.05)
    kept.put(fire())
    await asyncio.sleep(0.1)
    assert await kept.flush(await broker_with_queue()) == 0
    assert len(kept) == 0


async def test_the_same_event_is_kept_once(tmp_path: Path) -> None:
    event, kept = fire(), buffer(tmp_path)
    kept.put(event)
    kept.put(event)
    assert len(kept) == 1


async def test_a_broker_that_goes_away_again_leaves_the_rest_waiting(tmp_path: Path) -> None:
    kept = buffer(tmp_path)
    kept.put(fire())
    with pytest.raises(BrokerError):
        await kept.flush(Failing())
    assert len(kept) == 1


async def test_a_broken_file_is_no_hindrance(tmp_path: Path) -> None:
    kept = buffer(tmp_path)
    kept.put(fire())
    (tmp_path / "00000000000000000001-0.event").touch()
    oldest = sorted(tmp_path.glob("*.event"))[-1]
    (tmp_path / oldest.name.replace("-", "-x")).write_bytes(b"half of an ev")
    broker = await broker_with_queue()
    assert await kept.flush(broker) == 1
    assert len(kept) == 0


async def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.event").write_text("of the operator")
    kept = buffer(tmp_path)
    kept.put(fire())
    assert await kept.flush(await broker_with_queue()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.event"]


async def test_a_full_disk_does_not_fill_with_halves_of_events(tmp_path: Path) -> None:
    kept = buffer(tmp_path)
    largest, highest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, highest))
    try:
        is_kept = kept.put(msgspec.structs.replace(fire(), frame=Frame(bytes(5000), utc_now())))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, highest))
    assert not is_kept
    assert list(tmp_path.iterdir()) == []


async def test_partial_buffer_file_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    left, writing = tmp_path / f"{1:020d}-0.partial", tmp_path / f"{2:020d}-0.partial"
    for path in (left, writing):
        path.write_bytes(b"half of an ev")
    os.utime(left, (time.time() - 3600,) * 2)
    buffer(tmp_path).put(fire())
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".event", ".partial"]
    assert writing.exists()


async def test_unread_event_blocks_neither_buffer_nor_function(tmp_path: Path) -> None:
    broker, kept, stopping, handled = await broker_with_queue(), buffer(tmp_path), asyncio.Event(), asyncio.Event()
    other, at, place = fire(age_s=1), utc_now() - timedelta(seconds=2), Place(37.5, 127.0, "gate")
    forgotten = CustomEvent(id=new_id(), type="flood", camera="gate-1", place=place, captured_at=at)
    kept.put(forgotten)
    kept.put(other)

    @on("fire")
    async def handle(_event: Event) -> None:
        handled.set()

    running = asyncio.create_task(
        run(Function("map", (handle.__bongsu_subscription__,)), broker, stopping, buffer=kept)  # type: ignore[attr-defined]
    )
    async with asyncio.timeout(10):
        await handled.wait()
    assert len(kept) == 1
    await broker.declare(queues(["flood.map"]))
    assert await kept.flush(broker) == 1
    stopping.set()
    await running


class Narrow(MemoryBroker):
    """A broker that takes no message of camera `wide`."""

    async def publish(self, *messages: Message) -> None:
        if any(decode(m.body).camera == "wide" for m in messages):
            raise TooLarge("takes no message of 17000348 bytes")
        await super().publish(*messages)


async def test_oversized_buffered_event_does_not_block_the_rest(tmp_path: Path) -> None:
    kept = buffer(tmp_path)
    for camera in ("gate-1", "wide", "gate-2"):
        kept.put(fire(camera=camera))
    broker = Narrow()
    await broker.declare(queues(["fire.map"]))
    assert await kept.flush(broker) == 2
    assert [event.camera for event in await taken(broker, 2)] == ["gate-1", "gate-2"]
    assert len(kept) == 0


async def test_a_hazard_outlives_the_burst_it_was_found_in(tmp_path: Path) -> None:
    """The broker takes no publishes for a while, and the burst is too old when it does."""
    broker, kept = Failing(), buffer(tmp_path)
    await broker.declare(queues(["fire.map", "motion"]))
    found: list[str] = []

    @on("motion")
    async def detect(event: Event) -> Iterable[Event]:
        found.append(event.id)
        return [fire()]

    frames, place = (Frame(b"", utc_now()),), Place(0, 0, "gate")
    motion = MotionBurst(id=new_id(), camera="c", place=place, captured_at=utc_now(), frames=frames)
    await broker.publish(encode(motion))
    stopping = asyncio.Event()
    subscription = detect.__bongsu_subscription__  # type: ignore[attr-defined]
    running = asyncio.create_task(run(Function("detect", (subscription,)), broker, stopping, buffer=kept))
    async with asyncio.timeout(10):
        while not len(kept):
            await asyncio.sleep(0.01)
        broker._ready["motion"].clear()
        broker.is_away = False
        (event, *_) = await taken(broker, 1)
    assert event.type == "fire"
    stopping.set()
    await running
