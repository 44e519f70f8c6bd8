"""Thousands of readers of one live stream: delay until all have an incident, and memory for each.

Server and client are separate processes, each on one core; the client is a bounded loop over plain sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from functions.event import Box, Detection, HazardSeen, Place, new_id, utc_now
from store import Store

READERS = 5000
INCIDENTS = 10
_AT_ONCE = 200
_ASK = b"GET /api/incidents/stream HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\nUser-Agent: bench\r\n\r\n"

_SERVER = """
import os, resource, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
from api.server import main
sys.exit(main())
"""


class Readers:
    """Plain sockets that read the stream, all in one loop."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._selector = selectors.DefaultSelector()
        self.sockets: list[socket.socket] = []
        self._tails: dict[socket.socket, bytes] = {}

    def connect(self, count: int) -> None:
        """Open this many, a few at a time, and wait for the first bytes of each."""
        while len(self.sockets) < count:
            opened = []
            for _ in range(min(_AT_ONCE, count - len(self.sockets))):
                one = socket.create_connection(self._address, 20)
                one.sendall(_ASK)
                opened.append(one)
            for one in opened:
                if b" 200 " not in one.recv(4096):
                    raise RuntimeError("the server refused a reader: raise BONGSU_STREAMS_MAX")
                one.setblocking(False)
                self._selector.register(one, selectors.EVENT_READ)
                self.sockets.append(one)
                self._tails[one] = b""

    def await_all(self, mark: bytes, timeout_s: float) -> list[float]:
        """When each received the mark, in seconds of the monotonic clock, sorted; fewer if time ran out."""
        had: dict[socket.socket, float] = {}
        end = time.monotonic() + timeout_s
        while len(had) < len(self.sockets) and time.monotonic() < end:
            for key, _ in self._selector.select(0.1):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                try:
                    data = self._tails[one] + one.recv(65536)
                except BlockingIOError:
                    continue
                if mark in data:
                    had.setdefault(one, time.monotonic())
                self._tails[one] = data[-64:]
        return sorted(had.values())

    def close(self) -> None:
        """Leave."""
        for one in self.sockets:
            one.close()


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    count = max(50, int(READERS * scale))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < count + 200:
        return [("live stream", f"not measured: {count} readers need more files than {hard} (ulimit -Hn)", "")]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with tempfile.TemporaryDirectory(prefix="bongsu-") as folder:
            return _measure(Path(folder), count, cores[0])
    finally:
        os.sched_setaffinity(0, set(cores))


def _measure(folder: Path, count: int, core: int) -> list[tuple[str, str, str]]:
    url = f"sqlite+aiosqlite:///{folder}/bongsu.db"
    environment = os.environ | {
        "BONGSU_DATABASE_URL": url, "BONGSU_SNAPSHOT_URL": str(folder / "snapshots"), "BONGSU_HTTP_PORT": "0",
        "BONGSU_STREAMS_MAX": str(count + 10), "BONGSU_RATE_LIMIT": "0",
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(core)], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        port = int(json.loads(server.stderr.readline())["url"].rstrip("/").rpartition(":")[2])
        readers = Readers(("127.0.0.1", port))
        # The first reader makes the process import modules, which is not part of the cost of a reader.
        readers.connect(20)
        time.sleep(2)
        before = memory_kb(server.pid)
        begun = time.monotonic()
        readers.connect(count)
        took_s = time.monotonic() - begun
        time.sleep(2)
        each_kb = (memory_kb(server.pid) - before) / (count - 20)
        last_s = [_time_one(url, readers, number) for number in range(INCIDENTS)]
        busy = _cpu_s(server.pid)
        time.sleep(10)
        share = (_cpu_s(server.pid) - busy) / 10
        readers.close()
    finally:
        server.terminate()
        server.wait(20)
    last_s.sort()
    return [
        (f"live stream: {count:,} readers, until the last has an incident", _seconds(last_s), "<= 1 s"),
        (f"live stream: memory of the process for each of {count:,} readers", f"{each_kb:.1f} KB", "<= 20 KB"),
        (f"live stream: {count:,} readers connect at once", f"{took_s:.1f} s, {count / took_s:,.0f} a second", ""),
        (f"live stream: {count:,} readers while nothing happens", f"{share:.0%} of a core", ""),
    ]


def _time_one(url: str, readers: Readers, number: int) -> float:
    name = f"bench-{number}-{new_id()[:8]}"
    place = Place(lat=37.5, lon=127.0, name="Bench")
    seen = HazardSeen(
        id=new_id(), hazard="fire", camera=name, place=place, captured_at=utc_now(),
        detections=(Detection("fire", 0.9, Box(0.1, 0.1, 0.2, 0.2)),),
    )  # fmt: skip

    async def record() -> None:
        store = await Store.open(url)
        await store.sightings.record(seen)
        await store.close()

    asyncio.run(record())
    begun = time.monotonic()
    had = readers.await_all(name.encode(), 30)
    if len(had) < len(readers.sockets):
        return float("inf")
    return had[-1] - begun


def _seconds(last_s: list[float]) -> str:
    return f"median {last_s[len(last_s) // 2]:.2f} s, slowest {last_s[-1]:.2f} s of {len(last_s)} incidents"


def memory_kb(pid: int) -> float:
    # Only private memory, without shared libraries.
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return float(line.split()[1])
    raise RuntimeError("no Private_Dirty in smaps_rollup: the kernel is too old")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    for row in rows(parser.parse_args().scale):
        print(" | ".join(row), flush=True)
