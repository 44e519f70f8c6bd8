"""What waits to be published: bursts, on disk once they are not fresh, and the last state of each camera."""

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
SCENES = Counter("bongsu_motion_scene_bursts_total", "Of these, bursts of a scene in which nothing moved", ["camera"])
LOST = Counter("bongsu_motion_bursts_lost_total", "Bursts that could not be published while fresh", ["camera"])
FAILURES = Counter("bongsu_motion_publish_failures_total", "Attempts to publish that the broker did not take")

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
    """Holds what the cameras say and publishes it, newest burst first; whatever the broker does, no camera waits."""

    def __init__(self, connect: Connect, buffer: EventBuffer | None = None, regions: Sequence[str] = ()) -> None:
        """Publish through the broker that `connect` opens.

        Args:
            connect: opens the broker, again after each failure.
            buffer: keeps bursts that could not be published while fresh; they follow in order, behind the fresh ones,
                and only as fast as the detectors take them. Without it they are lost.
            regions: those with a queue of their own, where the fresh bursts of their cameras go. What is late goes to
                the shared queue: it must not stand in the way of what is fresh.
        """
        self._connect = connect
        self._buffer = buffer
        self._regions = tuple(regions)
        self._broker: Broker | None = None
        self._bursts: deque[CapturedBurst] = deque()
        self._states: dict[str, tuple[Camera, str, datetime]] = {}
        self._wake = asyncio.Event()
        self._wake.set()  # the first thing to do is to connect and declare, before anybody has anything to say

    def put_burst(self, taken: CapturedBurst) -> None:
        """Queue a burst; the oldest is given up where too many wait."""
        size = sum(map(_bytes, (*self._bursts, taken)))
        while self._bursts and (len(self._bursts) >= _MOST_BURSTS or size > _MOST_BYTES):
            size -= _bytes(self._bursts[0])
            self._give_up(self._bursts.popleft(), "too many wait")
        self._bursts.append(taken)
        self._wake.set()

    def put_state(self, camera: Camera, status: str) -> None:
        """Queue the state of a camera, in place of an older one that was not told yet."""
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
                # Broad, because a task that dies here of a driver's own error would leave every camera unheard.
                FAILURES.inc()
                log.warning("publish_failed", error=_said(error), waiting=len(self._bursts))
                await self.close()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_CAP_S)
                self._drop_stale()

    async def flush(self) -> None:
        """Publish all that waits.

        Raises:
            BrokerError: what was not published is kept for the next try.
        """
        self._wake.clear()
        try:
            broker = await self._ready_broker()
            while self._states or self._bursts:
                try:
                    # Those that wait now: more may come as fast as they go, and states wait too.
                    for _ in range(len(self._bursts)):
                        if self._bursts:  # a large one that comes meanwhile may push out several
                            await self._publish_burst(broker)
                except Exception:
                    # Both have queues of their own: what is wrong with one must not hold up the other.
                    await self._publish_states(broker)
                    raise
                await self._publish_states(broker)
        except BaseException:
            self._wake.set()
            raise

    async def _follow(self) -> None:
        """Publish some of what was kept while the broker was away, unless the detectors have enough to do."""
        if self._buffer is None or not len(self._buffer) or self._broker is None:
            return
        async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
            depth = await self._broker.depth(MOTION)
        # The queue sheds its oldest: what is late must never push out what is fresh.
        if depth.ready * 4 < (queue(MOTION).max_length or 1):
            async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
                await self._buffer.flush(self._broker, limit=_LATE_AT_ONCE)
        if len(self._buffer):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LATE_PAUSE_S):
                    await self._wake.wait()
            self._wake.set()

    def keep(self) -> None:
        """Put what could not be published into the buffer, if there is one: this process ends."""
        while self._bursts and self._buffer is not None:
            self._buffer.put(_event(self._bursts.popleft()))

    async def close(self) -> None:
        """Let go of the broker."""
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
        taken = self._bursts.pop()
        if _age_s(taken) > FRESH_S:
            self._give_up(taken, "stale")
            return
        event = _event(taken)
        key = burst_queue(event.place.region, self._regions)
        try:
            await self._publish(broker, replace(encode(event), routing_key=key))
        except TooLarge as error:
            LOST.labels(taken.camera.id).inc()
            hint = "lower this camera's jpeg.width, jpeg.quality or burst.frames"
            log.error("burst_lost", camera=taken.camera.id, reason=f"{error}: {hint}")
            return
        except BaseException:
            # Behind the others: whatever is wrong with it, they must not wait for it.
            self._bursts.appendleft(taken)
            raise
        BURSTS.labels(taken.camera.id).inc()
        if taken.is_scene:
            SCENES.labels(taken.camera.id).inc()
        telemetry.observe_stage(msgspec.structs.replace(event, trace=()), event.trace[-1])
        log.info("burst_published", event_id=event.id, camera=event.camera, frames=len(event.frames))

    async def _publish(self, broker: Broker, message: Message) -> None:
        # Not wait_for: in Python 3.11 it swallows a cancellation that meets its result, and the worker never ends.
        async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
            await broker.publish(message)

    def _drop_stale(self) -> None:
        waiting, self._bursts = self._bursts, deque()
        for taken in waiting:
            if _age_s(taken) > FRESH_S:
                self._give_up(taken, "stale")
            else:
                self._bursts.append(taken)

    def _give_up(self, taken: CapturedBurst, reason: str) -> None:
        if self._buffer is not None and self._buffer.put(_event(taken)):
            log.warning("burst_buffered", camera=taken.camera.id, reason=reason, age_s=round(_age_s(taken), 1))
            return
        LOST.labels(taken.camera.id).inc()
        log.error("burst_lost", camera=taken.camera.id, reason=reason, age_s=round(_age_s(taken), 1))


def _event(taken: CapturedBurst) -> MotionBurst:
    return MotionBurst(
        id=taken.id,
        camera=taken.camera.id,
        place=taken.camera.place.wire,
        captured_at=taken.frames[0].captured_at,
        frames=taken.frames,
        moved=taken.moved,
        thresholds={str(hazard): value for hazard, value in taken.camera.thresholds.items()},
        zones=tuple(zone.wire for zone in taken.camera.zones),
    ).with_stage(MOTION, taken.got_at, utc_now())


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, BrokerError) else type(error).__name__


def _bytes(taken: CapturedBurst) -> int:
    return sum(len(frame.jpeg) for frame in taken.frames)


def _age_s(taken: CapturedBurst) -> float:
    return (utc_now() - taken.got_at).total_seconds()
