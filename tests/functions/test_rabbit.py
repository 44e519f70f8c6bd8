"""What RabbitMQ alone can do to us, on a real one."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import aio_pika
import pamqp.encode
import pytest

from functions import Event, HazardSeen, Place, decode, encode, new_id, on, utc_now
from functions.broker import BrokerError, QueueDiffers, TooLarge, connect
from functions.broker.rabbit import RabbitBroker
from functions.broker.rabbit_consumer import RabbitConsumer
from functions.event import Message
from functions.function import Function
from functions.runtime import run
from functions.topology import DEAD, DELAYS_S, Queue, delay_name, queues
from tests.servers import Rabbit, rabbit_tools

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.connected


def message(body: bytes = b"x", key: str = "fire") -> Message:
    return Message(key, body, {"cloudEvents:id": "1"})


async def test_queue_with_other_limits_is_kept_and_reported(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    await broker.declare([Queue("fire.map", "fire", delivery_limit=5)])
    await broker.publish(message())
    with pytest.raises(QueueDiffers, match=r"fire\.map.*x-delivery-limit.*8.*5"):
        await broker.declare(queues(["fire.map", "gun.map"]))
    assert (await broker.depth("gun.map")).ready == 0
    async with broker.consume(["fire.map"]) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        await delivery.ack()
    await broker.close()


async def test_topology_apply_is_idempotent(rabbit_url: str) -> None:
    def apply(*names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from functions.cli import main; main()", "topology", "apply", *names],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "BONGSU_BROKER_URL": rabbit_url},
        )

    assert [apply("fire.map", "motion").returncode for _ in range(2)] == [0, 0]
    broker = await connect(rabbit_url)
    await broker.declare([Queue("gun.map", "gun", delivery_limit=5)])
    await broker.close()
    refused = await asyncio.to_thread(apply, "fire.map", "gun.map")
    assert refused.returncode == 1
    assert "gun.map" in refused.stderr
    assert "x-delivery-limit" in refused.stderr


async def test_a_publish_outlives_a_lost_connection(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    assert isinstance(broker, RabbitBroker)
    await broker.declare(queues(["fire.map"]))
    for count in range(1, 6):
        publishing = asyncio.create_task(broker.publish(*(message(bytes([i])) for i in range(200))))
        await asyncio.sleep(0.005 * count)
        assert broker._connections.link is not None
        await broker._connections.link.connection.close()
        await publishing
    got: set[bytes] = set()
    async with broker.consume(["fire.map"], prefetch=100) as consumer:
        while (delivery := await consumer.get(0.5)) is not None:
            got.add(delivery.message.body)
            await delivery.ack()
    assert got == {bytes([i]) for i in range(200)}
    await broker.close()


async def test_consumer_of_a_lost_connection_raises_and_starts_nothing(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    assert isinstance(broker, RabbitBroker)
    await broker.declare(queues(["fire.map"]))
    await broker.publish(message(), message())
    async with broker.consume(["fire.map"], prefetch=2) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        assert broker._connections.consuming is not None
        await broker._connections.consuming.close()
        with pytest.raises(BrokerError, match="lost"):
            await consumer.get(5)
        with pytest.raises(BrokerError, match="again"):
            await delivery.ack()
    async with broker.consume(["fire.map"]) as consumer:
        again = await consumer.get(5)
        assert again is not None
        assert again.attempt == 2
    await broker.close()


async def test_a_consumer_whose_queue_is_deleted_says_so(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    await broker.declare(queues(["fire.map"]))
    async with broker.consume(["fire.map"]) as consumer:
        connection = await aio_pika.connect(rabbit_url)
        await (await connection.channel()).queue_delete("fire.map")
        await connection.close()
        with pytest.raises(BrokerError, match="ended the subscription"):
            await consumer.get(5)
    await broker.close()


async def test_a_virtual_host_that_is_not_there_is_named_in_one_line(rabbit_url: str) -> None:
    with pytest.raises(
        BrokerError, match=r"/no-such-vhost: cannot connect: the virtual host does not exist"
    ) as refusal:
        await connect(f"{rabbit_url.rpartition('/')[0]}/no-such-vhost")
    assert not re.search(r"\n|object at|[<>(){}]", str(refusal.value)), str(refusal.value)


async def test_a_consumer_that_cannot_join_leaves_nothing_behind(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    for _ in range(20):
        with pytest.raises(BrokerError, match="no queue"):
            async with broker.consume(["fire.nobody"]):
                pass
    gc.collect()
    assert sum(isinstance(thing, RabbitConsumer) for thing in gc.get_objects()) <= 2
    await broker.close()


async def test_a_message_whose_workers_all_died_is_a_dead_letter(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    assert isinstance(broker, RabbitBroker)
    await broker.declare(queues(["fire.map"]))
    event = HazardSeen(id=new_id(), hazard="fire", camera="c", place=Place(0, 0, "gate"), captured_at=utc_now())
    await broker.publish(encode(event))
    for _ in range(20):
        async with broker.consume(["fire.map"]) as consumer:
            if await consumer.get(0.5) is None:
                break
            assert broker._connections.consuming is not None
            await broker._connections.consuming.close()
    (letter,) = await broker.dead_letters("fire.map")
    assert "worker died" in letter.reason
    assert letter.message.body == encode(event).body
    assert await broker.replay([letter.id]) == 1
    async with broker.consume(["fire.map"]) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        assert (delivery.attempt, delivery.message.routing_key) == (1, "fire")
        await delivery.ack()
    await broker.close()


async def test_an_event_that_kills_its_workers_takes_no_other_along(
    rabbit_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.subscription_worker._backoff", lambda attempt: 0.0)
    broker, stopping, handled = await connect(rabbit_url), asyncio.Event(), []
    assert isinstance(broker, RabbitBroker)

    @on("fire")
    async def handle(event: Event) -> None:
        if event.camera != "poison":
            handled.append(event.camera)
        elif broker._connections.consuming is not None:
            # What RabbitMQ sees of a worker that dies.
            await broker._connections.consuming.close()

    await broker.declare(queues(["fire.map"]))
    cameras = ["poison", "a", "b", "c"]
    place = Place(0, 0, "gate")
    await broker.publish(
        *(encode(HazardSeen(id=new_id(), hazard="fire", camera=c, place=place, captured_at=utc_now())) for c in cameras)
    )
    function = Function("map", (handle.__bongsu_subscription__,))  # type: ignore[attr-defined]
    running = asyncio.create_task(run(function, broker, stopping))
    async with asyncio.timeout(60):
        while not (set(handled) == {"a", "b", "c"} and await broker.dead_letters()):
            await asyncio.sleep(0.1)
    stopping.set()
    await running
    assert [decode(letter.message.body).camera for letter in await broker.dead_letters()] == ["poison"]
    await broker.close()


async def test_oversized_message_fails_alone(rabbit_server: Rabbit, rabbit_url: str) -> None:
    def allow(size: int) -> None:
        # RabbitMQ 4 reads the limit from a term that it stored when it started.
        stored = f"persistent_term:put(max_message_size, {size})"
        rabbit_server.ctl("eval", f"application:set_env(rabbit, max_message_size, {size}), {stored}.")

    allow(100_000)
    try:
        broker = await connect(rabbit_url)
        await broker.declare(queues(["fire.map"]))
        with pytest.raises(TooLarge, match="takes no message of 200000 bytes"):
            await broker.publish(message(bytes(200_000)))
        await broker.publish(message(bytes(50_000)))
        assert (await broker.depth("fire.map")).ready == 1
        await broker.close()
    finally:
        allow(134_217_728)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(rabbit_tools() is None, reason="no rabbitmq-server: apt-get install rabbitmq-server")
async def test_first_retry_survives_a_killed_broker(tmp_path: Path) -> None:
    server = Rabbit(tmp_path)
    try:
        server.start()
        broker = await connect(server.url)
        await broker.declare(queues(["fire.map"]))
        # A node forgets the queues that it created within the second before it was killed.
        await asyncio.sleep(3)
        await broker.publish(message())
        async with broker.consume(["fire.map"]) as consumer:
            delivery = await consumer.get(5)
            assert delivery is not None
            await delivery.retry("not yet", after_s=2)
        server.kill()
        server.start()
        await broker.close()
        broker = await connect(server.url)
        async with broker.consume(["fire.map"]) as consumer:
            delivery = await consumer.get(30)
            assert delivery is not None
            assert (delivery.attempt, delivery.message.body) == (2, b"x")
            await delivery.ack()
        await broker.close()
    finally:
        server.stop()


async def test_delay_queues_exist_and_are_restored(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    await broker.declare(queues(["fire.map"]))
    connection = await aio_pika.connect(rabbit_url)
    channel = await connection.channel()
    for delay_s in DELAYS_S:
        await channel.declare_queue(delay_name(delay_s), passive=True)
    await broker.publish(message())
    async with broker.consume(["fire.map"]) as consumer:
        for attempt in (1, 2, 3):
            delivery = await consumer.get(10)
            assert delivery is not None
            assert delivery.attempt == attempt
            # After the first retry our link knows the delay, and cannot know that it is gone.
            await channel.queue_delete(delay_name(1))
            await (delivery.ack() if attempt == 3 else delivery.retry("not yet", after_s=1))
    await connection.close()
    await broker.close()


async def test_hostile_headers_are_no_hindrance(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    await broker.declare(queues(["fire.map"]))
    connection = await aio_pika.connect(rabbit_url)
    channel = await connection.channel()
    odd = {"a": bytearray(b"\xff")}
    hostile = {"x-bongsu-attempts": "many", "x-delivery-count": [1], "x-bongsu-queue": odd, "": 1.5}
    await channel.default_exchange.publish(aio_pika.Message(b"", headers=hostile), "fire.map")  # type: ignore[arg-type]
    await channel.default_exchange.publish(aio_pika.Message(b"by hand", headers={"x-death": "?"}), DEAD)
    await connection.close()
    async with broker.consume(["fire.map"]) as consumer:
        delivery = await consumer.get(5)
        assert delivery is not None
        assert delivery.attempt == 1
        await delivery.reject("not an event")
    reasons = {letter.reason for letter in await broker.dead_letters()}
    assert reasons == {"not an event", "put among the dead letters by hand"}
    await broker.close()


async def test_unreadable_properties_end_no_connection(rabbit_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = await connect(rabbit_url)
    await broker.declare(queues(["fire.map"]))
    nested: dict[str, object] = {}
    for _ in range(900):
        nested = {"a": nested}
    # In microseconds, which is what a publisher may take it for.
    monkeypatch.setitem(pamqp.encode.METHODS, "timestamp", lambda at: struct.pack(">Q", int(at.timestamp() * 1e6)))
    deepest = sys.getrecursionlimit()
    connection = await aio_pika.connect(rabbit_url)
    channel = await connection.channel()
    sys.setrecursionlimit(20_000)
    try:
        for odd in (
            aio_pika.Message(b"late", timestamp=utc_now()),
            aio_pika.Message(b"deep", headers=nested),  # type: ignore[arg-type]
            aio_pika.Message(b"long", headers={"h": bytearray(b"\xff" * 60_000)}),
        ):
            await channel.default_exchange.publish(odd, "fire.map")
    finally:
        sys.setrecursionlimit(deepest)
    await connection.close()
    await broker.publish(message())
    async with broker.consume(["fire.map"], prefetch=4) as consumer:
        for body in (b"late", b"deep", b"long"):
            delivery = await consumer.get(5)
            assert delivery is not None
            assert delivery.message.body == body
            await delivery.reject("not an event")
        delivery = await consumer.get(5)
        assert delivery is not None
        assert (delivery.message.body, delivery.attempt) == (b"x", 1)
        await delivery.ack()
    assert [letter.message.body for letter in await broker.dead_letters()] == [b"late", b"deep", b"long"]
    await broker.close()


async def test_region_overflow_goes_to_the_shared_queue(rabbit_url: str) -> None:
    broker = await connect(rabbit_url)
    (shared,) = queues(["motion"])
    await broker.declare([shared, Queue("motion.seoul", "motion.seoul", max_length=2, ttl_s=30.0, moves_to="motion")])
    for i in range(5):
        await broker.publish(message(bytes([i]), "motion.seoul"))
    async with broker.consume(["motion"], prefetch=10) as consumer:
        for i in range(3):
            delivery = await consumer.get(10)
            assert delivery is not None
            assert delivery.message == message(bytes([i]), "motion")  # as if it had been published there
            assert delivery.attempt == 1
            await delivery.ack()
    assert (await broker.depth("motion.seoul")).ready == 2
    await broker.close()


async def test_topology_apply_declares_region_queues(rabbit_url: str) -> None:
    command = [sys.executable, "-c", "from functions.cli import main; main()", "topology", "apply"]
    environment = {**os.environ, "BONGSU_BROKER_URL": rabbit_url, "BONGSU_REGIONS": "Seoul,Incheon"}
    for names, declared in ((["fire.map"], "fire.map"), (["motion"], "motion motion.seoul motion.incheon")):
        done = await asyncio.to_thread(
            subprocess.run, [*command, *names], capture_output=True, text=True, cwd=ROOT, env=environment
        )
        assert done.stdout.split() == declared.split(), done.stderr
    broker = await connect(rabbit_url)
    assert (await broker.depth("motion.incheon")).ready == 0
    await broker.close()
