"""The edge worker: reads every camera of a node, despite lost cameras, an unreachable broker and a changed file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from prometheus_client import Gauge

from functions import telemetry
from functions.buffer import EventBuffer
from motion.burst import BurstRecorder, CapturedBurst
from motion.clip import Clip
from motion.clips import Clips
from motion.config import ANY, Camera, ConfigError, load_cameras
from motion.outbox import Connect, Outbox
from motion.secrets import secrets_path
from motion.sharing import Neighbours, NeighboursUnavailable, Node, share
from motion.streams import CameraStreams

log = structlog.get_logger()

FRAME_AGE = Gauge(
    "bongsu_camera_last_frame_age_seconds", "Age of the newest frame", ["camera"], multiprocess_mode="mostrecent"
)
TAKEN_OVER = Gauge(
    "bongsu_cameras_taken_over", "Cameras read here whose own node is down", multiprocess_mode="mostrecent"
)
UNREAD = Gauge("bongsu_cameras_unread", "Cameras that no live node may read", multiprocess_mode="mostrecent")

_TICK_S = 1.0
_LAST_WORDS_S = 1.0


class Worker:
    """One process for all cameras of a node. Create it inside the event loop that runs it."""

    def __init__(
        self,
        path: Path,
        connect: Connect,
        node: str | None = None,
        buffer: EventBuffer | None = None,
        neighbours: Neighbours | None = None,
        *,
        regions: Sequence[str] = (),
        clips: Clips | None = None,
    ) -> None:
        """Read the camera file.

        Args:
            path: the file.
            connect: opens the broker.
            node: this node's name; without it all cameras are read.
            buffer: keeps bursts that the broker does not take while they are fresh.
            neighbours: finds the other live nodes, so that the cameras of a dead one are taken over.
            regions: those whose bursts go to their own queue.
            clips: records clips around bursts; without it none are recorded.

        Raises:
            ConfigError: the file cannot be used.
        """
        self._path = path
        self._node = node
        self._stamp = stamp_of(path)
        self._cameras = load_cameras(path)
        self._neighbours = neighbours
        self._live: Sequence[Node] | None = None
        self._is_deaf = False
        self._is_applied = False
        self._unread: set[str] = set()
        self._outbox = Outbox(connect, buffer, regions)
        self._clips = clips
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, tuple[BurstRecorder, CameraStreams]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Watch the cameras until `stop` is set."""
        tasks = [asyncio.create_task(self._outbox.run())]
        if self._clips is not None:
            tasks.append(asyncio.create_task(self._clips.run()))
        if self._neighbours is None:
            self._apply()
        else:
            tasks.append(asyncio.create_task(self._look_around(self._neighbours)))
        telemetry.set_healthy(True)
        try:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await stop.wait()
                self._tick()
                for task in tasks:
                    if task.done():
                        task.result()  # none of them ever ends normally: better to restart than to go on without it
        finally:
            for watch, stream in self._running.values():
                _stop(watch, stream)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Recorded bursts are still news: try once more, but an edge worker must stop quickly.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._outbox.flush()
            self._outbox.keep()
            await self._outbox.close()
            if self._clips is not None:
                # The cameras' threads hand over the clips that they were recording.
                await asyncio.to_thread(self._join, _LAST_WORDS_S)
                await self._clips.close(_LAST_WORDS_S)
            log.info("motion_stopped", cameras=len(self._running))

    def _join(self, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        for _, streams in self._running.values():
            streams.join(max(0.0, end_s - time.monotonic()))

    def _tick(self) -> None:
        now_s = time.monotonic()
        for watch, stream in self._running.values():
            stream.watch()
            if stream.last_frame_at_s is not None:
                FRAME_AGE.labels(watch.camera.id).set(now_s - stream.last_frame_at_s)
        self._reload()

    def _reload(self) -> None:
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            cameras = load_cameras(self._path)
        except ConfigError as error:
            log.error("cameras_refused", error=str(error), kept=len(self._running))
            return
        self._cameras = cameras
        if self._neighbours is None or self._live is not None or self._is_deaf:
            self._apply()

    async def _look_around(self, neighbours: Neighbours) -> None:
        """Divide the cameras again; while the other nodes are unknown, leave them as they were."""
        while True:
            try:
                reading = [key for key, (_, streams) in self._running.items() if streams.is_live]
                self._live = await neighbours.look(reading)
                self._is_deaf = False
            except NeighboursUnavailable as error:
                if not self._is_deaf:
                    log.warning("neighbours_unheard", error=str(error), kept=len(self._running))
                self._is_deaf = True
            self._apply()
            await asyncio.sleep(neighbours.beat_s)

    def _wanted(self) -> dict[str, Camera]:
        if self._live is None or self._node is None:
            # Reading a camera twice is better than not at all.
            return {camera.id: camera for camera in self._cameras.of_node(self._node)}
        found = share(self._cameras.cameras, self._node, self._live, self._running)
        away = [c for c in found.mine if c.node not in (ANY, self._node)]
        TAKEN_OVER.set(len(away))
        UNREAD.set(len(found.unread))
        for camera in found.to_report:
            if camera.id not in self._unread:
                log.error("camera_unread", camera=camera.id, node=camera.node, region=camera.place.region)
                self._outbox.put_state(camera, "lost: its edge node is down, and so is every other of its region")
        self._unread = {camera.id for camera in found.to_report}
        return {camera.id: camera for camera in found.mine}

    def _apply(self) -> None:
        """Start new cameras, stop removed ones, restart changed ones, and leave the rest alone."""
        wanted = self._wanted()
        gone = [key for key, (watch, _) in self._running.items() if wanted.get(key) != watch.camera]
        for key in gone:
            watch, stream = self._running.pop(key)
            _stop(watch, stream)
            if key in wanted:
                continue
            self._forget(stream)
            if all(other.id != key for other in self._cameras.cameras):
                self._outbox.put_state(watch.camera, "lost: removed from the camera file")
            else:
                # Its next reader reports its state.
                log.info("camera_handed_over", camera=key, node=watch.camera.node)
        fresh = [camera for key, camera in wanted.items() if key not in self._running]
        for camera in fresh:
            self._running[camera.id] = self._start(camera)
            if self._live is not None and camera.node not in (ANY, self._node):
                log.warning("camera_taken_over", camera=camera.id, node=camera.node)
        if fresh or gone or not self._is_applied:
            log.info("cameras_applied", started=len(fresh), stopped=len(gone), running=len(self._running))
        self._is_applied = True

    def _forget(self, stream: CameraStreams) -> None:
        stream.forget()
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            with contextlib.suppress(KeyError):
                FRAME_AGE.remove(stream.camera)

    def _start(self, camera: Camera) -> tuple[BurstRecorder, CameraStreams]:
        streams = CameraStreams(
            camera,
            self._take,
            lambda status: self._call(self._outbox.put_state, camera, status),
            clip_limits=None if self._clips is None else self._clips.limits,
            on_clip=self._take_clip,
        )
        streams.start()
        return streams.recorder, streams

    def _take(self, burst: CapturedBurst) -> None:
        self._call(self._outbox.put_burst, burst)

    def _take_clip(self, clip: Clip) -> None:
        if self._clips is not None:
            self._call(self._clips.put, clip)

    def _call(self, function: object, *arguments: object) -> None:
        """Call a function in the loop from a camera's thread; does nothing once the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]


def _stop(watch: BurstRecorder, stream: CameraStreams) -> None:
    stream.stop()
    # The frames so far of a current burst may show as much as the whole burst.
    watch.lost()


def stamp_of(path: Path) -> list[tuple[int, int, int] | None]:
    """What changes with the file of cameras or its passwords."""
    return [_file_stamp(path), _file_stamp(secrets_path(path))]


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
