"""Keeps what is retained on the MQTT server the same as what the database says, and says so when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator

import aiomqtt
import structlog
from prometheus_client import Counter, Gauge

from functions import telemetry
from functions.backoff import backoff_s
from functions.event import utc_now
from notify.mqtt.follower import Follower
from notify.mqtt.messages import Site, compose
from notify.mqtt.settings import MqttSettings
from notify.mqtt.topics import slug
from store import StoreError

log = structlog.get_logger()

published_total = Counter("bongsu_mqtt_published_total", "Messages that the MQTT server confirmed")
connected = Gauge("bongsu_mqtt_connected", "Whether the bridge is connected to the MQTT server")

_SYNC_S = 10.0
_ANSWER_S = 10.0
_REFRESH_S = 3600.0
_RETRY_FIRST_S, _RETRY_LONGEST_S = 1.0, 60.0
# A refusal of these codes (MQTT 3.1.1: 4, 5; 5.0: 134, 135) is a matter of user, password or rights.
_REFUSED = (4, 5, 134, 135)


class Bridge:
    """One connection at a time. It publishes only what differs from what the server has."""

    def __init__(self, settings: MqttSettings, site: Site, follower: Follower) -> None:
        self._settings = settings
        self._site = site
        self._topics = site.topics
        self._follower = follower
        self._tls = settings.tls()
        self._known: dict[str, bytes] = {}
        """Digest of what the server has retained, by topic."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until asked to stop; connect again whenever the server or the database was away."""
        failures = 0
        while not stopping.is_set():
            try:
                async with self._connect() as client:
                    await self._reconcile(client)
                    failures = 0
                    await self._follow(client, stopping)
            except (aiomqtt.MqttError, StoreError, TimeoutError) as error:
                wait_s = backoff_s(failures, first_s=_RETRY_FIRST_S, longest_s=_RETRY_LONGEST_S)
                failures += 1
                log.warning("mqtt_unavailable", reason=explain(error, self._settings), again_in_s=round(wait_s, 2))
                await _within(wait_s, stopping)

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator[aiomqtt.Client]:
        settings = self._settings
        client = aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.mqtt_user.reveal() or None,
            password=settings.mqtt_password.reveal() or None,
            # A second bridge of the same prefix takes the place of the first, so the two never publish in turns.
            identifier=f"bongsu-{slug(settings.mqtt_prefix)}",
            will=aiomqtt.Will(self._topics.status, b"offline", qos=1, retain=True),
            tls_context=self._tls,
            timeout=_ANSWER_S,
            keepalive=30,
        )
        async with client:
            connected.set(1)
            try:
                yield client
            finally:
                connected.set(0)
                telemetry.set_healthy(False)
                # When we disconnect ourselves, as when the database is away, the server drops the last will.
                with contextlib.suppress(aiomqtt.MqttError):
                    await client.publish(self._topics.status, b"offline", qos=1, retain=True)

    async def _reconcile(self, client: aiomqtt.Client) -> None:
        """Bring the server from whatever it has retained to what the database says now."""
        await self._follower.start_over()
        self._known = await self._read_retained(client)
        wanted: set[str] = {self._topics.status}
        for camera in list(self._follower.views):
            wanted |= await self._publish_camera(client, camera)
        for topic in sorted(self._known.keys() - wanted):
            # Of cameras that the database knows no longer.
            await self._publish(client, topic, b"")
        await self._publish(client, self._topics.status, b"online")
        telemetry.set_healthy(True)
        log.info("mqtt_connected", cameras=len(self._follower.views))

    async def _follow(self, client: aiomqtt.Client, stopping: asyncio.Event) -> None:
        refresh_at = time.monotonic() + _REFRESH_S
        async with _watched(client) as watching:
            while not await _within(self._settings.mqtt_poll_s, stopping):
                if watching.done():
                    # It broke while there was nothing to say: connect again now, not at the next fire.
                    watching.result()
                changed = await self._follower.look()
                if time.monotonic() > refresh_at:
                    changed |= await self._follower.check_pictures()
                    refresh_at = time.monotonic() + _REFRESH_S
                for camera in changed:
                    await self._publish_camera(client, camera)

    async def _publish_camera(self, client: aiomqtt.Client, camera: str) -> set[str]:
        """Publish what of a camera differs; all topics that have something of it."""
        messages = compose(self._follower.views[camera], self._site, utc_now())
        for topic, payload in messages.items():
            await self._publish(client, topic, payload)
        return {topic for topic, payload in messages.items() if payload}

    async def _publish(self, client: aiomqtt.Client, topic: str, payload: bytes) -> None:
        digest = _digest(payload)
        if self._known.get(topic, _digest(b"")) == digest:
            return
        # QoS 1, so that this waits until the server has it.
        await client.publish(topic, payload, qos=1, retain=True)
        published_total.inc()
        if payload:
            self._known[topic] = digest
        else:
            self._known.pop(topic, None)

    async def _read_retained(self, client: aiomqtt.Client) -> dict[str, bytes]:
        """What the server has retained of ours; nothing where it does not let us read, so all is published again."""
        known: dict[str, bytes] = {}
        filters = [f"{self._topics.cameras}#", self._topics.status, self._topics.sync]
        if self._topics.configs:
            filters.append(f"{self._topics.configs}+/config")
        for one in filters:
            await client.subscribe(one, qos=0)
        await client.publish(self._topics.sync, b"", qos=1)
        try:
            async with asyncio.timeout(_SYNC_S):
                async for message in client.messages:
                    topic = str(message.topic)
                    if topic == self._topics.sync:
                        break
                    if message.retain and isinstance(message.payload, bytes):
                        known[topic] = _digest(message.payload)
        except TimeoutError:
            log.warning("mqtt_cannot_read", fix="allow this user to read its own topics: docs/mqtt.md")
            known.clear()
        for one in filters:
            await client.unsubscribe(one)
        return known


def explain(error: Exception, settings: MqttSettings) -> str:
    """Why there is no connection, with the server's address and without user and password."""
    where = f"{settings.host}:{settings.port}"
    if isinstance(error, StoreError):
        return str(error)
    code = getattr(error, "rc", None)
    if getattr(code, "value", code) in _REFUSED:
        return f"{where} refused the user: check BONGSU_MQTT_USER, BONGSU_MQTT_PASSWORD and the server's rights"
    return f"{where}: {error or type(error).__name__}"


@contextlib.asynccontextmanager
async def _watched(client: aiomqtt.Client) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends with an error as soon as the connection is lost."""

    async def wait_for_loss() -> None:
        # Nothing is subscribed to, so there is nothing to receive.
        async for _ in client.messages:
            pass

    watching = asyncio.create_task(wait_for_loss())
    try:
        yield watching
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()


async def _within(seconds: float, stopping: asyncio.Event) -> bool:
    """Wait; whether it is to stop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
    return stopping.is_set()
