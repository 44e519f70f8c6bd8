"""How much a replica takes in hand: fitted to its handler, and given back when the handler turns slow."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import Event, HazardSeen, Place, encode, new_id, on, utc_now
from functions.broker import Broker, Consumer
from functions.event import Message
from functions.function import Function
from functions.prefetch import LEAST, PrefetchController, fitting
from functions.runtime import run
from functions.topology import queues


def event() -> Event:
    return HazardSeen(
        id=new_id(), hazard="fire", camera="gate-1", place=Place(37.5, 127.0, "gate"), captured_at=utc_now()
    )


def test_a_quick_handler_holds_more_and_a_slow_one_the_least() -> None:
    assert fitting(LEAST, 0.0001) == 32
    assert fitting(LEAST, 0.005) == 16
    assert fitting(LEAST, 0.05) == LEAST
    assert fitting(32, 1.0) == LEAST
    assert fitting(32, 0.02) == 32, "a hiccup of a busy machine gives nothing back"


@given(st.sampled_from([4, 8, 16, 32]), st.floats(0, 100))
def test_what_fits_is_bounded_and_stays(size: int, work_s: float) -> None:
    fits = fitting(size, work_s)
    assert LEAST <= fits <= 32
    assert fits == LEAST or fits * work_s <= 1.0
    assert fitting(fits, work_s) == fits


async def drain(consumer: Consumer, count: int) -> list[bytes]:
    bodies = []
    for _ in range(count):
        delivery = await consumer.get(10)
        assert delivery is not None
        bodies.append(delivery.message.body)
        await delivery.ack()
    return bodies


async def test_a_resized_consumer_loses_nothing_and_keeps_the_order(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    sent = [bytes([i]) for i in range(120)]
    await broker.publish(*(Message("fire", body, {}) for body in sent))
    async with broker.consume(["fire.map"], prefetch=4) as consumer:
        got = await drain(consumer, 10)
        await consumer.resize(32)
        got += await drain(consumer, 110)
        assert got == sent
        assert await consumer.get(0.2) is None


async def test_shrunk_consumer_returns_deliveries_uncounted(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(*(Message("fire", bytes([i]), {}) for i in range(20)))
    async with broker.consume(["fire.map"], prefetch=32) as slow:
        first = await slow.get(10)
        assert first is not None
        await asyncio.sleep(0.3)
        await slow.resize(LEAST)
        async with broker.consume(["fire.map"], prefetch=LEAST) as other:
            seen = []
            while len(seen) < 20 - 1 - 2 * LEAST:
                delivery = await other.get(30)
                assert delivery is not None
                assert delivery.attempt == 1
                seen.append(delivery.message.body)
                await delivery.ack()
        await first.ack()
        assert sorted(seen + [first.message.body] + await drain(slow, 19 - len(seen))) == [
            bytes([i]) for i in range(20)
        ]
        assert await slow.get(0.2) is None


async def test_consumer_with_prefetch_zero_keeps_only_work_in_progress(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(*(Message("fire", bytes([i]), {}) for i in range(10)))
    async with broker.consume(["fire.map"], prefetch=LEAST) as alone:
        first = await alone.get(10)
        assert first is not None
        await alone.resize(0)
        async with broker.consume(["fire.map"], prefetch=LEAST) as other:
            assert sorted(await drain(other, 9)) == [bytes([i]) for i in range(1, 10)]
        await first.ack()
        await broker.publish(Message("fire", b"next", {}))
        await alone.resize(LEAST)
        assert await drain(alone, 1) == [b"next"]


async def test_slow_handler_gives_back_its_prefetched_events(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.prefetch._TOO_LONG_S", 0.2)
    sizes: list[int] = []
    fit = PrefetchController._fit

    async def noted(window: PrefetchController, size: int) -> None:
        sizes.append(size)
        await fit(window, size)

    monkeypatch.setattr(PrefetchController, "_fit", noted)
    stopping, gate, seen = asyncio.Event(), asyncio.Event(), []

    @on("fire", timeout_s=60)
    async def handle(event: Event) -> None:
        seen.append(event.id)
        if len(seen) == 100:
            await gate.wait()

    await broker.declare(queues(["fire.test"]))
    sent = [event() for _ in range(300)]
    await broker.publish(*map(encode, sent))
    function = Function("test", (handle.__bongsu_subscription__,))  # type: ignore[attr-defined]
    running = asyncio.create_task(run(function, broker, stopping))
    async with asyncio.timeout(60):
        while not (len(seen) == 100 and sizes[-1] == LEAST):
            await asyncio.sleep(0.05)
        gate.set()
        while len(seen) < 300:
            await asyncio.sleep(0.05)
    stopping.set()
    await running
    assert sorted(seen) == sorted(e.id for e in sent)
    assert max(sizes) > LEAST
