"""Reads queue depths, applies the scaling rules and scales the pools: KEDA and the HPA of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from functions.broker import Broker, BrokerError, Depth, connect
from functions.files import replace_file
from local.manifest import Workload
from local.process.output import Output
from local.rules import HPA_SYNC_S, Load, Scaler

_STATUS_S = 1.0
_DEAD_LETTERS_S = 10.0
_DEAD_LETTERS_MOST = 100
"""Dead letters are read with their bodies, so the page counts only up to this many."""
_HISTORY_S = 300
_RATE_S = 5.0


class Scalable(Protocol):
    """What the autoscaler scales: a pool."""

    @property
    def wanted(self) -> int: ...
    @property
    def running(self) -> int: ...
    def scale(self, replicas: int) -> None: ...


class _Rate:
    """Messages a second, averaged over the same window as RabbitMQ's own statistics."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def of(self, now: float, published: int | None) -> float:
        """The rate now, from the total ever published; 0 at first, and for a broker that does not count."""
        if published is None:
            return 0.0
        while len(self._samples) > 1 and now - self._samples[1][0] >= _RATE_S:
            self._samples.popleft()
        self._samples.append((now, published))
        then, before = self._samples[0]
        return (published - before) / (now - then) if now > then else 0.0


@dataclass(slots=True)
class _Watched:
    workload: Workload
    pool: Scalable
    scaler: Scaler
    depths: dict[str, Depth] = field(default_factory=dict)
    rates: dict[str, _Rate] = field(default_factory=dict)
    dead: int = 0
    history: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=_HISTORY_S))

    @property
    def ready(self) -> int:
        return sum(depth.ready for depth in self.depths.values())

    @property
    def unacked(self) -> int:
        return sum(depth.unacked or 0 for depth in self.depths.values())


class Autoscaler:
    """Runs one loop for each workload, and one that writes the status for the page."""

    def __init__(
        self,
        workloads: Sequence[tuple[Workload, Scalable]],
        broker_url: str,
        status_file: Path,
        output: Output,
        *,
        hpa_sync_s: float = HPA_SYNC_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = [_Watched(workload, pool, Scaler(workload.rule)) for workload, pool in workloads]
        self._broker_url = broker_url
        self._status_file = status_file
        self._output = output
        self._hpa_sync_s = hpa_sync_s
        self._now = now
        self._broker: Broker | None = None
        self._lock = asyncio.Lock()
        self._problems: dict[str, str] = {}

    async def run(self) -> None:
        """Watch and scale until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for watched in self._watched:
                    group.create_task(self._poll_always(watched))
                    group.create_task(self._sync_always(watched))
                group.create_task(self._count_dead_letters_always())
                group.create_task(self._write_status_always())
        finally:
            await self._drop(self._broker)

    async def _poll_always(self, watched: _Watched) -> None:
        while True:
            started_at = self._now()
            watched.depths = await self._measure(watched)
            self._scale(watched, watched.scaler.poll(started_at, watched.depths, watched.pool.wanted))
            await asyncio.sleep(max(0.0, watched.workload.rule.polling_interval_s - (self._now() - started_at)))

    async def _sync_always(self, watched: _Watched) -> None:
        while True:
            await asyncio.sleep(self._hpa_sync_s)
            self._scale(watched, watched.scaler.sync(self._now(), watched.depths, watched.pool.wanted))

    def _scale(self, watched: _Watched, replicas: int) -> None:
        before = watched.pool.wanted
        if replicas == before:
            return
        watched.pool.scale(replicas)
        work = f"{watched.ready} waiting, {watched.unacked} in work" if watched.ready + watched.unacked else "idle"
        self._output.say(f"{watched.workload.name:<9}{before} -> {replicas}   ({work})")

    async def _measure(self, watched: _Watched) -> dict[str, Depth]:
        """Depth of each queue of a workload; a queue that cannot be read is left out and read again next time."""
        depths: dict[str, Depth] = {}
        broker: Broker | None = None
        try:
            broker = await self._connected()
            for queue in watched.workload.rule.queues:
                depth = await broker.depth(queue)
                rate = watched.rates.setdefault(queue, _Rate()).of(self._now(), depth.published)
                depths[queue] = Load(depth.ready, depth.unacked, depth.published, rate)
        except BrokerError as error:
            await self._drop(broker)
            self._report(watched.workload.name, f"queues cannot be read: {error}; trying again")
        else:
            self._report(watched.workload.name, "")
        return depths

    def _report(self, who: str, problem: str) -> None:
        """Print a problem once, however many workloads have it and however long, and once that it is over for all."""
        if problem and problem not in self._problems.values():
            self._output.say(f"{'scaler':<9}{problem}")
        before = self._problems.pop(who, "")
        if problem:
            self._problems[who] = problem
        elif before and not self._problems:
            self._output.say(f"{'scaler':<9}works again")

    async def _connected(self) -> Broker:
        async with self._lock:
            if self._broker is None:
                self._broker = await connect(self._broker_url)
            return self._broker

    async def _drop(self, broker: Broker | None) -> None:
        # Another workload may have dropped this connection and opened a new one: leave the new one alone.
        if broker is not None and broker is self._broker:
            self._broker = None
        if broker is not None:
            with contextlib.suppress(BrokerError, OSError):
                await broker.close()

    async def _count_dead_letters_always(self) -> None:
        while True:
            for watched in self._watched:
                with contextlib.suppress(BrokerError):
                    broker = await self._connected()
                    found = [
                        await broker.dead_letters(queue, limit=_DEAD_LETTERS_MOST)
                        for queue in watched.workload.rule.queues
                    ]
                    watched.dead = sum(len(letters) for letters in found)
            await asyncio.sleep(_DEAD_LETTERS_S)

    async def _write_status_always(self) -> None:
        while True:
            at = int(time.time())
            for watched in self._watched:
                watched.history.append((at, watched.pool.running, watched.ready))
            try:
                write_status(self._status_file, at, [_status(watched) for watched in self._watched])
            except OSError as error:
                self._report(
                    "status", f"{self._status_file} cannot be written ({error.strerror}): the page shows old numbers"
                )
            else:
                self._report("status", "")
            await asyncio.sleep(_STATUS_S)


def write_status(path: Path, at: int, functions: Sequence[dict[str, object]]) -> None:
    """Replace the status file atomically, so that nobody reads a partial one.

    Raises:
        OSError: the disk is full or the folder is missing.
    """
    content = json.dumps({"at": at, "functions": functions}, separators=(",", ":"))
    replace_file(path, content.encode(), is_synced=False)


def _status(watched: _Watched) -> dict[str, object]:
    rule = watched.workload.rule
    return {
        "name": watched.workload.name,
        "replicas": watched.pool.running,
        "min": rule.min_replicas,
        "max": rule.max_replicas,
        "ready": watched.ready,
        "unacked": watched.unacked,
        "dead": watched.dead,
        "history": [list(entry) for entry in watched.history],
    }
