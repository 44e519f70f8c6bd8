"""Watches nodes: takes samples at intervals, finds problems, and keeps past samples.

The history is an append-only file for each node, `history/NODE.jsonl`; at a certain size a new one is begun, and the
previous one is kept. `bongsu nodes watch` calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from edge.errors import FleetError
from edge.nodes import Node, SshAddress

HOT_CELSIUS = 85.0
DISK_FREE_SHARE = 0.1
CLOCK_S = 5.0
"""TLS and signed URLs tolerate this much; beyond it, events, which carry the node's time, would be in wrong order."""
_MAX_HISTORY_BYTES = 8 << 20
"""About a month at one sample in 30 s; twice that with the previous file."""
_PARALLEL = 16
_Share = Annotated[float, msgspec.Meta(ge=-0.01, le=1.01)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Rate = Annotated[float, msgspec.Meta(ge=0)]


class Gpu(msgspec.Struct, frozen=True):
    """The first GPU of a node."""

    used: _Share
    memory_used_bytes: float
    memory_bytes: float
    temperature: float


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A node's report about itself; edge/node/health.py has the units."""

    cpu: _Share
    load: _Rate
    memory_bytes: _Count
    memory_free_bytes: _Count
    disk_bytes: _Count
    disk_free_bytes: _Count
    received_bytes_per_s: _Rate
    sent_bytes_per_s: _Rate
    uptime_s: _Rate
    temperature: float | None = None
    gpu: Gpu | None = None


class _Clock(msgspec.Struct):
    clock: float


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node at one moment.

    Attributes:
        node: its name.
        at: when it was asked.
        health: None where it could not be reached.
        latency_s: how long a TCP connection to its SSH server takes to open.
        drift_s: how far its clock is ahead of ours; wrong by as much as one way through the network takes.
        is_ready: whether the cluster whose node it is hears of it; that says nothing of its health.
        error: why it could not be reached.
    """

    node: str
    at: datetime
    health: Health | None = None
    latency_s: float | None = None
    drift_s: float | None = None
    is_ready: bool = False
    error: str = ""

    @property
    def alerts(self) -> list[str]:
        """The problems, by the names of the Prometheus alerts."""
        if self.health is None:
            return [] if self.is_ready else ["NodeDown"]
        disk = self.health.disk_free_bytes < DISK_FREE_SHARE * self.health.disk_bytes
        temperatures = [self.health.temperature, self.health.gpu.temperature if self.health.gpu else None]
        hot = any(t is not None and t > HOT_CELSIUS for t in temperatures)
        clock = abs(self.drift_s or 0.0) > CLOCK_S
        found = {"NodeHot": hot, "NodeDiskFull": disk, "NodeClockWrong": clock}
        return [name for name, is_so in found.items() if is_so]


async def sample_nodes(nodes: Sequence[Node]) -> list[Sample]:
    """A sample of each node that was not revoked, in their order; of a cluster's node, whether it is ready."""
    turn = asyncio.Semaphore(_PARALLEL)

    async def one(node: Node) -> Sample:
        async with turn:
            return await _sample(node)

    return list(await asyncio.gather(*(one(node) for node in nodes if node.revoked_at is None)))


async def _sample(node: Node) -> Sample:
    from edge import cluster, ssh

    at = datetime.now(UTC)
    if not node.is_reached:
        try:
            await asyncio.to_thread(cluster.check_ready, node.name)
        except FleetError as error:
            return Sample(node=node.name, at=at, error=str(error))
        return Sample(node=node.name, at=at, is_ready=True)
    drift_s: float | None = None

    def on_clock(line: bytes) -> None:
        nonlocal drift_s
        drift_s = round(msgspec.json.decode(line, type=_Clock).clock - time.time(), 3)

    try:
        latency_s = None if node.ssh is None else await _open_once(SshAddress.parse(node.ssh))
        health = await ssh.ask(node, {"command": "health"}, Health, on_seen=on_clock)
    except FleetError as error:
        return Sample(node=node.name, at=at, error=str(error))
    except msgspec.MsgspecError as error:
        return Sample(node=node.name, at=at, error=f"node {node.name!r} reports no time: {error}")
    except OSError as error:
        return Sample(node=node.name, at=at, error=f"{node.address} cannot be reached: {error.strerror or 'no answer'}")
    return Sample(node=node.name, at=at, health=health, latency_s=latency_s, drift_s=drift_s)


async def _open_once(address: SshAddress) -> float:
    begun = time.monotonic()
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(address.host, address.port)
    took_s = time.monotonic() - begun
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return round(took_s, 4)


class History:
    """Past samples, in a file for each node."""

    def __init__(self, folder: Path, max_bytes: int = _MAX_HISTORY_BYTES) -> None:
        self._folder = folder / "history"
        self._max_bytes = max_bytes

    def add(self, sample: Sample) -> None:
        """Append a sample."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(sample.node)
        if path.exists() and path.stat().st_size > self._max_bytes:
            path.replace(path.with_suffix(".old.jsonl"))
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(msgspec.json.encode(sample) + b"\n")

    def last(self, node: str, count: int) -> list[Sample]:
        """The newest samples of a node, oldest first; a line truncated by a crash is skipped."""
        lines: deque[bytes] = deque(maxlen=count)
        path = self._path(node)
        for file in (path.with_suffix(".old.jsonl"), path):
            if file.exists():
                with file.open("rb") as content:
                    lines.extend(content)
        samples = []
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError):
                samples.append(msgspec.json.decode(line, type=Sample))
        return samples

    def _path(self, node: str) -> Path:
        return self._folder / f"{node}.jsonl"
