"""The edge worker: reads every camera of a node, through lost cameras, a broker that is away and a changed file."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

import structlog
from prometheus_client import Gauge

from functions import telemetry
from functions.spool import Spool
from motion.burst import Taken, Watch
from motion.config import Camera, ConfigError, load_cameras
from motion.outbox import Connect, Outbox
from motion.stream import LIVE, Stream

log = structlog.get_logger()

FRAME_AGE = Gauge(
    "bongsu_camera_last_frame_age_seconds", "Age of the newest frame", ["camera"], multiprocess_mode="mostrecent"
)

_TICK_S = 1.0
_LAST_WORDS_S = 1.0


class Worker:
    """One process for all cameras of a node. Make it inside the event loop that runs it."""

    def __init__(self, path: Path, connect: Connect, node: str | None = None, spool: Spool | None = None) -> None:
        """Read the file of cameras.

        Raises:
            ConfigError: the file cannot be used.
        """
        self._path = path
        self._node = node
        self._stamp = _stamp(path)
        self._wanted = load_cameras(path).of_node(node)
        self._outbox = Outbox(connect, spool)
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, tuple[Camera, Stream]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Watch the cameras until `stop` is set."""
        publishing = asyncio.create_task(self._outbox.run())
        self._apply(self._wanted)
        telemetry.set_healthy(True)
        try:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await stop.wait()
                self._tick()
        finally:
            for _, stream in self._running.values():
                stream.stop()
            publishing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await publishing
            # What was taken is news still: one more try, but nobody waits long for an edge worker to end.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._outbox.flush()
            self._outbox.keep()
            await self._outbox.close()
            log.info("motion_stopped", cameras=len(self._running))

    def _tick(self) -> None:
        now_s = time.monotonic()
        for camera, stream in self._running.values():
            stream.watch()
            if stream.last_frame_at_s is not None:
                FRAME_AGE.labels(camera.id).set(now_s - stream.last_frame_at_s)
        self._reload()

    def _reload(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            cameras = load_cameras(self._path)
        except ConfigError as error:
            log.error("cameras_refused", error=str(error), kept=len(self._running))
            return
        self._apply(cameras.of_node(self._node))

    def _apply(self, cameras: Iterable[Camera]) -> None:
        """Start what is new, stop what is gone, restart what changed, and leave the rest alone."""
        wanted = {camera.id: camera for camera in cameras}
        gone = [key for key, (camera, _) in self._running.items() if wanted.get(key) != camera]
        for key in gone:
            camera, stream = self._running.pop(key)
            stream.stop()
            if key not in wanted:
                self._outbox.put_state(camera, "lost: removed from the file of cameras")
        fresh = [camera for key, camera in wanted.items() if key not in self._running]
        for camera in fresh:
            self._running[camera.id] = (camera, self._start(camera))
        log.info("cameras_applied", started=len(fresh), stopped=len(gone), running=len(self._running))

    def _start(self, camera: Camera) -> Stream:
        watch = Watch(camera, self._take)

        def tell(status: str) -> None:
            if status != LIVE:
                watch.lost()
            self._call(self._outbox.put_state, camera, status)

        stream = Stream(camera.id, camera.url.get_secret_value(), watch.see, tell)
        stream.start()
        return stream

    def _take(self, taken: Taken) -> None:
        self._call(self._outbox.put_burst, taken)

    def _call(self, function: object, *arguments: object) -> None:
        """From a camera's thread into the loop; once the loop has ended there is nobody left to tell."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
