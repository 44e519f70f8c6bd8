"""Hostile messages end as dead letters and take nothing along; `python -m bench.fuzz` sends 100,000 of them."""

from __future__ import annotations

import asyncio
import itertools

from bench.fuzz import fire, hostile
from functions import Event, Message, encode, on
from functions.broker.memory import MemoryBroker
from functions.function import Function
from functions.runtime import run
from functions.topology import queues


async def test_hostile_messages_are_dead_letters() -> None:
    broker, seen, stopping = MemoryBroker(), [], asyncio.Event()
    await broker.declare(queues(["fire.courier"]))

    @on("fire")
    async def deliver(event: Event) -> None:
        seen.append(event.id)

    real = [fire() for _ in range(20)]
    for event in real:
        bodies = itertools.islice(hostile(int(event.id[:8], 16)), 50)
        await broker.publish(*(Message("fire", body, {}) for body in bodies), encode(event))
    subscription = deliver.__bongsu_subscription__  # type: ignore[attr-defined]
    running = asyncio.create_task(run(Function("courier", (subscription,)), broker, stopping))
    async with asyncio.timeout(60):
        while len(seen) < len(real):
            await asyncio.sleep(0.05)
    stopping.set()
    await running
    letters = await broker.dead_letters(limit=10_000)
    assert len(letters) == 50 * len(real)
    assert all(letter.reason.startswith("not an event") for letter in letters)
    assert seen == [event.id for event in real]
