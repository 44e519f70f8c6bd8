"""What every broker promises, tried on each of them."""

from __future__ import annotations

import asyncio

import pytest

from functions.broker import Broker, BrokerError, Delivery, Unroutable
from functions.broker.base import shed_total
from functions.broker.rabbit import RabbitBroker
from functions.event import Message
from functions.topology import Queue, queues


def message(key: str = "fire", body: bytes = b"x") -> Message:
    return Message(key, body, {"cloudEvents:id": "1"})


async def take(broker: Broker, *names: str, timeout_s: float = 5.0) -> bytes | None:
    """Take one message and acknowledge it."""
    async with broker.consume(names) as consumer:
        delivery = await consumer.get(timeout_s)
        if delivery is None:
            return None
        await delivery.ack()
        return delivery.message.body


async def drain(broker: Broker, name: str, count: int) -> list[bytes]:
    """Take so many messages as one consumer, which is who is promised an order."""
    bodies = []
    async with broker.consume([name]) as consumer:
        for _ in range(count):
            delivery = await consumer.get(5)
            assert delivery is not None
            bodies.append(delivery.message.body)
            await delivery.ack()
    return bodies


async def settled(broker: Broker, queue: str, ready: int) -> None:
    """Wait until so many are ready: RabbitMQ counts a moment late."""
    for _ in range(100):
        if (await broker.depth(queue)).ready == ready:
            return
        await asyncio.sleep(0.05)
    assert (await broker.depth(queue)).ready == ready


async def test_a_message_comes_out_as_it_went_in(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(message(body=bytes(range(256))))
    async with broker.consume(["fire.map"]) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        assert (delivery.queue, delivery.attempt) == ("fire.map", 1)
        assert delivery.message.body == bytes(range(256))
        assert delivery.message.routing_key == "fire"
        assert delivery.message.headers["cloudEvents:id"] == "1"
        await delivery.ack()
    await settled(broker, "fire.map", 0)


async def test_every_function_gets_its_own_copy(broker: Broker) -> None:
    await broker.declare(queues(["fire.map", "fire.post", "gun.map"]))
    await broker.publish(message())
    assert await take(broker, "fire.map") == b"x"
    assert await take(broker, "fire.post") == b"x"
    assert await take(broker, "gun.map", timeout_s=0.2) is None


async def test_messages_come_in_order(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(*(message(body=bytes([i])) for i in range(20)))
    assert await drain(broker, "fire.map", 20) == [bytes([i]) for i in range(20)]


async def test_one_consumer_drains_several_queues(broker: Broker) -> None:
    await broker.declare(queues(["fire.map", "gun.map"]))
    await broker.publish(message("fire", b"f"), message("gun", b"g"))
    async with broker.consume(["fire.map", "gun.map"], prefetch=4) as consumer:
        got = set()
        for _ in range(2):
            delivery = await consumer.get(5)
            assert delivery is not None
            got.add((delivery.queue, delivery.message.body))
            await delivery.ack()
    assert got == {("fire.map", b"f"), ("gun.map", b"g")}


async def test_a_waiting_consumer_is_woken(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    async with broker.consume(["fire.map"]) as consumer:
        waiting = asyncio.create_task(consumer.get(5))
        await asyncio.sleep(0.1)
        await broker.publish(message())
        delivery = await waiting
        assert delivery is not None
        await delivery.ack()


async def test_an_unroutable_message_is_refused(broker: Broker) -> None:
    with pytest.raises(Unroutable, match="knife"):
        await broker.publish(message("knife"))


async def test_a_missing_queue_is_named(broker: Broker) -> None:
    with pytest.raises(BrokerError, match=r"fire\.nobody"):
        await broker.depth("fire.nobody")
    with pytest.raises(BrokerError, match=r"fire\.nobody"):
        async with broker.consume(["fire.nobody"]):
            pass


async def test_declaring_twice_keeps_what_waits(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(message())
    await broker.declare(queues(["fire.map"]))
    assert await take(broker, "fire.map") == b"x"


async def test_leaving_consumer_returns_deliveries_uncounted(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(message())
    async with broker.consume(["fire.map"]) as consumer:
        assert await consumer.get(5) is not None
    async with broker.consume(["fire.map"]) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        assert delivery.attempt == 1
        await delivery.ack()


async def test_a_consumer_cancelled_while_waiting_keeps_nothing(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    async with broker.consume(["fire.map"]) as consumer:
        waiting = asyncio.create_task(consumer.get())
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await broker.publish(message())
    assert await take(broker, "fire.map") == b"x"


async def test_unacked_messages_are_counted_apart(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(message(), message())
    async with broker.consume(["fire.map"]) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        depth = await broker.depth("fire.map")
        assert depth.ready == 1
        assert depth.unacked in (1, None)
        await delivery.ack()


async def test_a_retry_comes_back_later_and_counts(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(message())
    async with broker.consume(["fire.map"]) as consumer:
        first = await consumer.get(5)
        assert first is not None
        await first.retry("feed away", after_s=0.6)
        assert await consumer.get(0.2) is None
        second = await consumer.get(10)
        assert second is not None
        assert (second.attempt, second.message.body, second.message.routing_key) == (2, b"x", "fire")
        await second.ack()


async def test_the_delivery_limit_makes_a_dead_letter_with_its_reason(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    await broker.publish(message())
    async with broker.consume(["fire.map"]) as consumer:
        for _ in range(8):
            delivery = await consumer.get(10)
            assert delivery is not None
            # Rabbit rounds a delay up to a whole second; a test of eight retries should not last eight.
            await (delivery.retry("feed away", 0) if delivery.attempt == 8 else _hurry(broker, delivery))
        assert await consumer.get(0.3) is None
    (letter,) = await broker.dead_letters()
    assert letter.queue == "fire.map"
    assert "feed away" in letter.reason
    assert letter.attempts == 8
    assert letter.message.body == b"x"


async def _hurry(broker: Broker, delivery: Delivery) -> None:
    await delivery.retry("feed away", 0)


async def test_a_rejected_message_is_kept_listed_and_replayed(broker: Broker) -> None:
    await broker.declare(queues(["fire.map", "gun.map"]))
    await broker.publish(message(), message("gun", b"g"))
    for name in ("fire.map", "gun.map"):
        async with broker.consume([name]) as consumer:
            delivery = await consumer.get(5)
            assert delivery is not None
            await delivery.reject("no snapshot")
    assert {d.queue for d in await broker.dead_letters()} == {"fire.map", "gun.map"}
    (letter,) = await broker.dead_letters("fire.map")
    assert (letter.reason, letter.attempts, letter.message.routing_key) == ("no snapshot", 1, "fire")

    assert await broker.replay([letter.id]) == 1
    assert await broker.replay([letter.id]) == 0
    async with broker.consume(["fire.map"]) as consumer:
        again = await consumer.get(5)
        assert again is not None
        assert (again.attempt, again.message.body) == (1, b"x")
        await again.ack()
    assert [d.queue for d in await broker.dead_letters()] == ["gun.map"]


def shed(broker: Broker) -> float | None:
    """What the queue `motion` has shed in this process; None for RabbitMQ, which counts it itself."""
    return None if isinstance(broker, RabbitBroker) else shed_total.labels("motion")._value.get()


async def test_a_bounded_queue_sheds_its_oldest_and_counts_it(broker: Broker) -> None:
    before = shed(broker)
    await broker.declare([Queue("motion", "motion", max_length=3)])
    for i in range(5):
        await broker.publish(message("motion", bytes([i])))
    await settled(broker, "motion", 3)
    assert await drain(broker, "motion", 3) == [b"\2", b"\3", b"\4"]
    assert before is None or shed(broker) == before + 2


async def test_a_message_past_its_time_is_not_delivered(broker: Broker) -> None:
    before = shed(broker)
    await broker.declare([Queue("motion", "motion", ttl_s=0.2)])
    await broker.publish(message("motion"))
    await asyncio.sleep(0.5)
    assert await take(broker, "motion", timeout_s=0.2) is None
    assert (await broker.depth("motion")).ready == 0
    assert before is None or shed(broker) == before + 1


async def test_two_consumers_never_share_a_message(broker: Broker) -> None:
    await broker.declare(queues(["fire.map"]))
    bodies = [i.to_bytes(2, "big") for i in range(200)]
    await broker.publish(*(message(body=b) for b in bodies))
    got: list[bytes] = []

    async def drain() -> None:
        async with broker.consume(["fire.map"], prefetch=8) as consumer:
            while len(got) < len(bodies) and (delivery := await consumer.get(0.5)) is not None:
                got.append(delivery.message.body)
                await delivery.ack()

    await asyncio.gather(drain(), drain())
    assert sorted(got) == bodies
