"""Publishes what cameras produce: bursts, which are kept on disk once they are not fresh, and camera states."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import msgspec
import structlog
from prometheus_client import Counter

from functions import telemetry
from functions.broker import Broker, BrokerError, TooLarge
from functions.buffer import EventBuffer
from functions.event import CameraStatus, Message, MotionBurst, encode, new_id, utc_now
from functions.topology import EDGE_QUEUES, MOTION, burst_queue, queue, queues
from motion.burst import CapturedBurst
from motion.config import Camera

log = structlog.get_logger()

BURSTS = Counter("bongsu_motion_bursts_total", "Bursts published", ["camera"])
SCENES = Counter("bongsu_motion_scene_bursts_total", "Published bursts of a scene in which nothing moved", ["camera"])
LOST = Counter("bongsu_motion_bursts_lost_total", "Bursts that could not be published while fresh", ["camera"])
FAILURES = Counter("bongsu_motion_publish_failures_total", "Failed attempts to publish")

FRESH_S = 30.0
_MOST_BURSTS = 64  # a burst of four 720p frames is about half a megabyte ...
_MOST_BYTES = 256e6  # ... and one of large frames thirty times as much; a worker has a gigabyte (k8s/base/motion.yaml)
_PUBLISH_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0
_PAUSE_S, _PAUSE_CAP_S = 0.25, 4.0
_LATE_AT_ONCE = 8
_LATE_PAUSE_S = 1.0

Connect = Callable[[], Awaitable[Broker]]


class Outbox:
    """Queues bursts and states and publishes them, newest burst first. Cameras never wait for the broker."""

    def __init__(self, connect: Connect, buffer: EventBuffer | None = None, regions: Sequence[str] = ()) -> None:
        """Publish through the broker that `connect` opens.

        Args:
            connect: opens the broker, again after each failure.
            buffer: keeps bursts that could not be published while fresh; they follow in order, behind the fresh ones,
                and only as fast as the detectors take them. Without it they are lost.
            regions: those with their own queue for the fresh bursts of their cameras. Late bursts go to the shared
                queue, so that they do not delay fresh ones.
        """
        self._connect = connect
        self._buffer = buffer
        self._regions = tuple(regions)
        self._broker: Broker | None = None
        self._bursts: deque[CapturedBurst] = deque()
        self._states: dict[str, tuple[Camera, str, datetime]] = {}
        self._wake = asyncio.Event()
        self._wake.set()  # connect and declare first, before there is anything to publish

    def put_burst(self, burst: CapturedBurst) -> None:
        """Queue a burst; if too many wait, the oldest goes to the buffer."""
        size = sum(map(_bytes, (*self._bursts, burst)))
        while self._bursts and (len(self._bursts) >= _MOST_BURSTS or size > _MOST_BYTES):
            size -= _bytes(self._bursts[0])
            self._give_up(self._bursts.popleft(), "too many wait")
        self._bursts.append(burst)
        self._wake.set()

    def put_state(self, camera: Camera, status: str) -> None:
        """Queue the state of a camera; it replaces an older one that is not published yet."""
        self._states[camera.id] = (camera, status, utc_now())
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        pause_s = _PAUSE_S
        while True:
            await self._wake.wait()
            try:
                await self.flush()
                pause_s = _PAUSE_S
                await self._follow()
            except Exception as error:
                # Broad, because if a driver's own error ended this task, no camera could publish.
                FAILURES.inc()
                log.warning("publish_failed", error=_describe(error), waiting=len(self._bursts))
                await self.close()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_CAP_S)
                self._drop_stale()

    async def flush(self) -> None:
        """Publish everything that waits.

        Raises:
            BrokerError: a publish failed; the rest is kept for the next try.
        """
        self._wake.clear()
        try:
            broker = await self._ready_broker()
            while self._states or self._bursts:
                try:
                    # Only those that wait now: more may come as fast as they go, and states wait too.
                    for _ in range(len(self._bursts)):
                        if self._bursts:  # a large one that comes meanwhile may displace several
                            await self._publish_burst(broker)
                except Exception:
                    # Bursts and states have separate queues: a problem with one must not delay the other.
                    await self._publish_states(broker)
                    raise
                await self._publish_states(broker)
        except BaseException:
            self._wake.set()
            raise

    async def _follow(self) -> None:
        """Publish some of the buffer, unless the detectors are busy."""
        if self._buffer is None or not len(self._buffer) or self._broker is None:
            return
        async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
            depth = await self._broker.depth(MOTION)
        # The queue drops its oldest messages: late bursts must never displace fresh ones.
        if depth.ready * 4 < (queue(MOTION).max_length or 1):
            async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
                await self._buffer.flush(self._broker, limit=_LATE_AT_ONCE)
        if len(self._buffer):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LATE_PAUSE_S):
                    await self._wake.wait()
            self._wake.set()

    def keep(self) -> None:
        """Put unpublished bursts into the buffer, if there is one, because this process ends."""
        while self._bursts and self._buffer is not None:
            self._buffer.put(_event(self._bursts.popleft()))

    async def close(self) -> None:
        """Close the broker."""
        broker, self._broker = self._broker, None
        if broker is not None:
            with suppress(Exception):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await broker.close()

    async def _ready_broker(self) -> Broker:
        if self._broker is None:
            async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
                broker = await self._connect()
            try:
                async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
                    await broker.ensure(queues([*EDGE_QUEUES, *(burst_queue(r, self._regions) for r in self._regions)]))
            except BaseException:
                with suppress(BrokerError, OSError):
                    await broker.close()
                raise
            self._broker = broker
        return self._broker

    async def _publish_states(self, broker: Broker) -> None:
        for key, entry in list(self._states.items()):
            camera, status, at = entry
            event = CameraStatus(id=new_id(), camera=camera.id, place=camera.place.wire, captured_at=at, status=status)
            await self._publish(broker, encode(event.with_stage("motion", at, utc_now())))
            if self._states.get(key) is entry:
                del self._states[key]

    async def _publish_burst(self, broker: Broker) -> None:
        burst = self._bursts.pop()
        if _age_s(burst) > FRESH_S:
            self._give_up(burst, "stale")
            return
        event = _event(burst)
        key = burst_queue(event.place.region, self._regions)
        try:
            await self._publish(broker, replace(encode(event), routing_key=key))
        except TooLarge as error:
            LOST.labels(burst.camera.id).inc()
            hint = "lower this camera's jpeg.width, jpeg.quality or burst.frames"
            log.error("burst_lost", camera=burst.camera.id, reason=f"{error}: {hint}")
            return
        except BaseException:
            # To the back: the others must not wait for it, whatever is wrong with it.
            self._bursts.appendleft(burst)
            raise
        BURSTS.labels(burst.camera.id).inc()
        if burst.is_scene:
            SCENES.labels(burst.camera.id).inc()
        telemetry.observe_stage(msgspec.structs.replace(event, trace=()), event.trace[-1])
        log.info("burst_published", event_id=event.id, camera=event.camera, frames=len(event.frames))

    async def _publish(self, broker: Broker, message: Message) -> None:
        # Not wait_for: in Python 3.11 it swallows a cancellation that coincides with its result, and the worker hangs.
        async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
            await broker.publish(message)

    def _drop_stale(self) -> None:
        waiting, self._bursts = self._bursts, deque()
        for burst in waiting:
            if _age_s(burst) > FRESH_S:
                self._give_up(burst, "stale")
            else:
                self._bursts.append(burst)

    def _give_up(self, burst: CapturedBurst, reason: str) -> None:
        if self._buffer is not None and self._buffer.put(_event(burst)):
            log.warning("burst_buffered", camera=burst.camera.id, reason=reason, age_s=round(_age_s(burst), 1))
            return
        LOST.labels(burst.camera.id).inc()
        log.error("burst_lost", camera=burst.camera.id, reason=reason, age_s=round(_age_s(burst), 1))


def _event(burst: CapturedBurst) -> MotionBurst:
    return MotionBurst(
        id=burst.id,
        camera=burst.camera.id,
        place=burst.camera.place.wire,
        captured_at=burst.frames[0].captured_at,
        frames=burst.frames,
        moved=burst.moved,
        thresholds={str(hazard): value for hazard, value in burst.camera.thresholds.items()},
        zones=tuple(zone.wire for zone in burst.camera.zones),
    ).with_stage(MOTION, burst.got_at, utc_now())


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, BrokerError) else type(error).__name__


def _bytes(burst: CapturedBurst) -> int:
    return sum(len(frame.jpeg) for frame in burst.frames)


def _age_s(burst: CapturedBurst) -> float:
    return (utc_now() - burst.got_at).total_seconds()
