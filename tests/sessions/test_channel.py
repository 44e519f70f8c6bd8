"""Order, back-pressure and what is kept, without a network."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sessions.channel import Channel
from sessions.wire import BadMessageError, Request


class Gate:
    """A model that answers when it is let."""

    takes = "picture"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[Any] = []

    def run(self, given: Any) -> dict[str, Any]:
        self.seen.append(given)
        assert self.open.wait(10)
        return {"given": given}


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def _put(channel: Channel, *numbers: int, delivery: Any = "all", in_flight: int = 8) -> None:
    for n in numbers:
        await asyncio.wait_for(channel.put(Request(n, n), delivery, in_flight), 1)


async def test_results_come_in_the_order_of_requests(gate: Gate) -> None:
    channel = Channel(gate)
    work = asyncio.create_task(channel.work())
    await _put(channel, 3, 1, 2)
    gate.open.set()
    assert [(await channel.take())["n"] for _ in range(3)] == [3, 1, 2]
    work.cancel()


async def test_all_takes_no_more_than_in_flight(gate: Gate) -> None:
    channel = Channel(gate)
    work = asyncio.create_task(channel.work())
    await _put(channel, 1, 2, in_flight=2)
    third = asyncio.create_task(channel.put(Request(3, 3), "all", 2))
    _, late = await asyncio.wait([third], timeout=0.1)
    assert late
    gate.open.set()
    assert [(await channel.take())["n"] for _ in range(3)] == [1, 2, 3]
    assert gate.seen == [1, 2, 3]
    work.cancel()


async def test_latest_drops_the_oldest_and_says_how_many(gate: Gate) -> None:
    channel = Channel(gate)
    work = asyncio.create_task(channel.work())
    await _put(channel, 1, delivery="latest", in_flight=2)
    while not gate.seen:
        await asyncio.sleep(0.01)
    await _put(channel, 2, 3, 4, 5, delivery="latest", in_flight=2)
    gate.open.set()
    answers = [await channel.take() for _ in range(3)]
    assert [(a["n"], a.get("dropped", 0)) for a in answers] == [(1, 2), (4, 0), (5, 0)]
    assert gate.seen == [1, 4, 5]
    work.cancel()


async def test_latest_drops_results_that_nobody_fetches(gate: Gate) -> None:
    gate.open.set()
    channel = Channel(gate)
    work = asyncio.create_task(channel.work())
    for n in range(1, 50):
        await _put(channel, n, delivery="latest", in_flight=3)
        await asyncio.sleep(0.002)
    answers = [await asyncio.wait_for(channel.take(), 1) for _ in range(3)]
    assert [a["n"] for a in answers] == [47, 48, 49]
    assert answers[0]["dropped"] == 46
    work.cancel()


async def test_resumed_work_goes_on_where_it_was(gate: Gate) -> None:
    channel = Channel(gate)
    work = asyncio.create_task(channel.work())
    await _put(channel, 1, 2, 3)
    gate.open.set()
    assert (await channel.take())["n"] == 1
    # The connection broke before 1 had arrived.
    channel.resume(0)
    await _put(channel, 1, 2)
    assert [(await channel.take())["n"] for _ in range(3)] == [1, 2, 3]
    assert gate.seen == [1, 2, 3]
    work.cancel()


async def test_a_bad_message_keeps_its_place(gate: Gate) -> None:
    channel = Channel(gate)
    work = asyncio.create_task(channel.work())
    await _put(channel, 1)
    await channel.put(BadMessageError("no row", "send one", 2), "all", 8)
    gate.open.set()
    assert [(await channel.take())["type"] for _ in range(2)] == ["result", "error"]
    work.cancel()


async def test_only_so_many_results_are_kept(gate: Gate) -> None:
    gate.open.set()
    channel = Channel(gate)
    work = asyncio.create_task(channel.work())
    for n in range(1, 1101):
        await _put(channel, n)
        await channel.take()
    await _put(channel, 1, 1100)
    assert [(await channel.take())["n"] for _ in range(2)] == [1100, 1] or gate.seen[-1] == 1
    assert gate.seen.count(1) == 2, "forgotten, so it is computed again"
    assert gate.seen.count(1100) == 1
    work.cancel()
