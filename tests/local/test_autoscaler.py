from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from functions import HazardSeen, Place, encode, new_id
from functions.broker import Broker, connect
from functions.topology import queues
from local.autoscaler import Autoscaler
from local.manifest import Workload
from local.process.output import Output
from local.rules import Rule, Trigger

from .conftest import eventually


class FakePool:
    """A pool that changes its size at once."""

    def __init__(self) -> None:
        self.wanted = 0
        self.asked: list[int] = []

    @property
    def running(self) -> int:
        return self.wanted

    def scale(self, replicas: int) -> None:
        self.wanted = replicas
        self.asked.append(replicas)


def workload(**changes: object) -> Workload:
    triggers = (Trigger("fire.map", 2.0), Trigger("fire.map", 2.0, counts_unacked=True))
    rule = Rule(triggers, max_replicas=3, polling_interval_s=0.05, cooldown_s=0.3, **changes)  # type: ignore[arg-type]
    return Workload("map", "notify.map", rule, 10.0, {})


def fire() -> HazardSeen:
    return HazardSeen(
        id=new_id(), hazard="fire", camera="gate", place=Place(37.5, 127.0, "gate"), captured_at=datetime.now(UTC)
    )


@contextlib.asynccontextmanager
async def running(
    tmp_path: Path, pool: FakePool, lines: list[str], url: str = "", work: Workload | None = None
) -> AsyncIterator[Autoscaler]:
    autoscaler = Autoscaler(
        [(work or workload(), pool)],
        url or f"sqlite:///{tmp_path / 'broker.db'}",
        tmp_path / "scale.json",
        Output(tmp_path, lines.append),
        hpa_sync_s=0.05,
    )
    task = asyncio.create_task(autoscaler.run())
    try:
        yield autoscaler
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextlib.asynccontextmanager
async def broker_in(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = await connect(f"sqlite:///{tmp_path / 'broker.db'}")
    await broker.declare(queues(["fire.map"]))
    try:
        yield broker
    finally:
        await broker.close()


async def test_work_wakes_holds_and_its_end_puts_to_sleep(tmp_path: Path) -> None:
    pool, lines = FakePool(), list[str]()
    async with broker_in(tmp_path) as broker, running(tmp_path, pool, lines):
        await asyncio.sleep(0.2)
        assert pool.asked == []
        await broker.publish(encode(fire()))
        await eventually(lambda: pool.wanted == 1)
        async with broker.consume(["fire.map"]) as consumer:
            delivery = await consumer.get()
            assert delivery is not None
            await asyncio.sleep(0.6)  # twice the cooldown
            assert pool.asked == [1]
            await delivery.ack()
            await eventually(lambda: pool.wanted == 0)
    assert pool.asked == [1, 0]
    assert [line.partition("  ")[2] for line in lines] == [
        "map      0 -> 1   (1 waiting, 0 in work)",
        "map      1 -> 0   (idle)",
    ]


async def test_much_work_asks_for_more_replicas_up_to_the_maximum(tmp_path: Path) -> None:
    pool = FakePool()
    async with broker_in(tmp_path) as broker, running(tmp_path, pool, []):
        await broker.publish(*(encode(fire()) for _ in range(50)))
        await eventually(lambda: pool.wanted == 3)


async def test_status_file_says_what_the_page_shows(tmp_path: Path) -> None:
    pool = FakePool()
    async with broker_in(tmp_path) as broker:
        await broker.publish(encode(fire()))
        async with broker.consume(["fire.map"]) as consumer:
            delivery = await consumer.get()
            assert delivery is not None
            await delivery.reject("no picture")
        await broker.publish(encode(fire()))
        async with running(tmp_path, pool, []):
            await eventually(
                lambda: (tmp_path / "scale.json").exists() and pool.wanted and _function(tmp_path)["replicas"] == 1
            )
    function = _function(tmp_path)
    assert {k: function[k] for k in ("name", "min", "max", "ready", "unacked", "dead")} == {
        "name": "map", "min": 0, "max": 3, "ready": 1, "unacked": 0, "dead": 1,
    }  # fmt: skip
    history = function["history"]
    assert isinstance(history, list)
    at, replicas, waiting = history[-1]
    assert (replicas, waiting) == (1, 1)
    assert abs(at - datetime.now(UTC).timestamp()) < 60
    assert [path.name for path in tmp_path.glob(".scale.json.*")] == []


async def test_broker_that_cannot_be_read_is_told_once_and_tried_again(tmp_path: Path) -> None:
    pool, lines = FakePool(), list[str]()
    async with running(tmp_path, pool, lines):  # the queue is not declared yet
        await eventually(lambda: lines)
        await asyncio.sleep(0.3)
        assert len(lines) == 1
        assert "queues cannot be read" in lines[0]
        async with broker_in(tmp_path) as broker:
            await broker.publish(encode(fire()))
            await eventually(lambda: pool.wanted == 1)
    assert "works again" in lines[1]


async def test_status_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    pool, lines = FakePool(), list[str]()
    (tmp_path / "scale.json").mkdir()
    async with broker_in(tmp_path) as broker, running(tmp_path, pool, lines):
        await broker.publish(encode(fire()))
        await eventually(lambda: pool.wanted == 1)
        await eventually(lambda: any("the page shows old numbers" in line for line in lines))


def _function(tmp_path: Path) -> dict[str, object]:
    status = json.loads((tmp_path / "scale.json").read_text())
    (function,) = status["functions"]
    return dict(function)


async def test_work_that_is_done_between_two_looks_keeps_its_replica(tmp_path: Path) -> None:
    pool, lines = FakePool(), []  # type: ignore[var-annotated]
    triggers = (Trigger("fire.map", 2.0), Trigger("fire.map", 100.0, counts_unacked=True, counts_rate=True))
    rule = Rule(triggers, max_replicas=3, polling_interval_s=0.05, cooldown_s=0.3)
    work = Workload("map", "notify.map", rule, 10.0, {})
    async with broker_in(tmp_path) as broker, running(tmp_path, pool, lines, work=work):
        await broker.publish(encode(fire()))
        await eventually(lambda: pool.wanted == 1)
        for _ in range(12):  # three times the cooldown
            async with broker.consume(["fire.map"]) as consumer:
                while (delivery := await consumer.get(0.01)) is not None:
                    await delivery.ack()
            await asyncio.sleep(0.08)
            await broker.publish(encode(fire()))
        assert 0 not in pool.asked
