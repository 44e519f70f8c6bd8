"""A Mosquitto of the tests' own, and the bridge between it and a store."""

from __future__ import annotations

import asyncio
import contextlib

import aiomqtt
import pytest

from functions.event import utc_now
from notify.mqtt.bridge import Bridge
from notify.mqtt.follower import Follower
from notify.mqtt.messages import Site
from notify.mqtt.settings import MqttSettings
from notify.mqtt.topics import Topics
from tests.servers import Mosquitto, ServerError
from tests.stores import START

TOPICS = Topics("bongsu", "homeassistant")


@pytest.fixture
def mosquitto(tmp_path):
    server = Mosquitto(tmp_path / "mosquitto")
    try:
        server.start()
    except ServerError as error:
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture
def bridged(mosquitto, store, snapshots):
    """Runs a bridge on the store; keywords are settings."""

    @contextlib.asynccontextmanager
    async def run(**given):
        settings = MqttSettings(**{"mqtt_url": f"mqtt://127.0.0.1:{mosquitto.port}", "mqtt_poll_s": 0.1, **given})
        site = Site(Topics(settings.mqtt_prefix, settings.discovery_prefix), store.quiet_s, "https://map.example")
        stopping = asyncio.Event()
        running = asyncio.create_task(Bridge(settings, site, Follower(store, snapshots, site)).run(stopping))
        try:
            yield running
        finally:
            stopping.set()
            await running

    return run


class Subscriber:
    """Home Assistant's part: what is retained, and every message that came."""

    def __init__(self) -> None:
        self.topics: dict[str, bytes] = {}
        self.heard: list[tuple[str, bytes]] = []

    async def until(self, condition):
        async with asyncio.timeout(45):
            while not condition(self.topics):
                await asyncio.sleep(0.02)

    async def until_state(self, topic, state):
        await self.until(lambda topics: topics.get(topic) == state)

    async def read(self, client):
        async for message in client.messages:
            topic = str(message.topic)
            self.heard.append((topic, message.payload))
            self.topics[topic] = message.payload
            if not message.payload:
                del self.topics[topic]


@pytest.fixture
async def subscriber(mosquitto):
    heard = Subscriber()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.subscribe("#", qos=1)
        reading = asyncio.create_task(heard.read(client))
        yield heard
        reading.cancel()
        await asyncio.wait([reading])


@pytest.fixture
def now_event(make_event):
    """An event that is captured `seconds` from now."""

    def make(type_="fire", *, seconds=0.0, **fields):
        return make_event(type_, seconds=(utc_now() - START).total_seconds() + seconds, **fields)

    return make


@pytest.fixture
def happen(store, snapshots):
    """What the function `map` does with an event."""
    from notify.map import Map, put_on_map

    async def record(event):
        await put_on_map(event, Map(store, snapshots))

    return record
