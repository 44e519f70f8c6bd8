"""Twenty times more bursts than the detectors can handle: how many are dropped, the age of the rest, delay of hazards.

A function that takes a tenth of a second for a burst stands in for the detector, one that takes no time for the map.
Hazards are timed without the flood of bursts, before and after it, and during it. The flood comes from a separate
process with its own connection and a lower priority, as bursts come from edge nodes and hazards from detectors, so that
the cost of producing it is not measured. The memory and CPU time of every process are read, and those of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import psutil

from functions import Event, Frame, Place, encode, new_id, utc_now
from functions.broker import Broker, connect
from functions.topology import Queue, queue, queues
from tests.servers import Rabbit

ROOT = Path(__file__).parents[1]
_WORK_S = 0.1
_BURST_BYTES = 30_000
_HAZARDS_HZ = 5
_QUIET_S = 20.0
_NOTED = """
import asyncio, os, time
from functions import Event, on

def note(event: Event) -> None:
    with open(os.environ["OVERLOAD_LEDGER"], "a") as ledger:
        ledger.write(f"{event.type} {event.id} {time.time() - event.captured_at.timestamp()}\\n")
"""
_SLOW = (
    _NOTED
    + f"""
@on("motion")
async def look(event: Event) -> None:
    note(event)
    await asyncio.sleep({_WORK_S})
"""
)
_QUICK = (
    _NOTED
    + """
@on("fire")
async def pin(event: Event) -> None:
    note(event)
"""
)


_PICTURE = os.urandom(_BURST_BYTES)


def event(event_type: str, picture: bytes = b"") -> Event:
    """An event of that type, captured now, with one picture or none."""
    frames = (Frame(picture, utc_now()),) if picture else ()
    place = Place(37.5, 127.0, "gate")
    return Event(id=new_id(), type=event_type, camera="gate-1", place=place, captured_at=utc_now(), frames=frames)


async def _send(broker: Broker, rate_hz: float, seconds: float, make: Callable[[], Event]) -> list[str]:
    """Publish at this rate, in at most twenty windows a second; returns the ids in order."""
    begun, sent = time.monotonic(), list[str]()
    while (now := time.monotonic() - begun) < seconds:
        due = [make() for _ in range(int(now * rate_hz) + 1 - len(sent))]
        await broker.publish(*map(encode, due))
        sent += [made.id for made in due]
        next_at = max(len(sent) / rate_hz, now + 0.05)
        await asyncio.sleep(max(0.0, next_at - (time.monotonic() - begun)))
    return sent


def _flood(url: str, rate_hz: float, seconds: float, sent: Synchronized[int]) -> None:
    """The process that publishes too many bursts."""
    os.nice(10)

    async def flood() -> None:
        broker = await connect(url)
        sent.value = len(await _send(broker, rate_hz, seconds, lambda: event("motion", _PICTURE)))
        await broker.close()

    asyncio.run(flood())


@dataclass(slots=True)
class _Use:
    """Memory and CPU of the processes under test during the flood."""

    processes: dict[str, psutil.Process]
    most_bytes: dict[str, int] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    """Cores, on average."""
    machine: float = 0.0

    async def watch(self, until: Callable[[], bool]) -> None:
        begun_at, before, busy = time.monotonic(), self._cpu(), _busy_s()
        while not until():
            for name, process in self.processes.items():
                self.most_bytes[name] = max(self.most_bytes.get(name, 0), process.memory_info().rss)
            last_at, last = time.monotonic(), self._cpu()
            await asyncio.sleep(0.5)
        # The last reading before the end: the flooding process is gone by now.
        self.cpu = {name: (last[name] - before[name]) / (last_at - begun_at) for name in last}
        self.machine = (_busy_s() - busy) / (time.monotonic() - begun_at)

    def _cpu(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self.processes.items()}
        return {name: t.user + t.system for name, t in times.items()}


def _busy_s() -> float:
    """CPU seconds used by all processes of this machine."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0)


async def _measure(url: str, seconds: float, rate_hz: float, use: _Use) -> tuple[list[str], list[str], int]:
    """Hazards without and during the flood: ids of both, and the number of bursts sent."""
    broker = await connect(url)
    quiet = await _send(broker, _HAZARDS_HZ, _QUIET_S, lambda: event("fire"))
    context = multiprocessing.get_context("spawn")
    sent = context.Value("q")
    flood = context.Process(target=_flood, args=(url, rate_hz, seconds, sent))
    flood.start()
    assert flood.pid is not None
    use.processes |= {"the flood itself": psutil.Process(flood.pid), "publisher of hazards": psutil.Process()}
    watching = asyncio.create_task(use.watch(lambda: flood.exitcode is not None))
    loud = await _send(broker, _HAZARDS_HZ, seconds, lambda: event("fire"))
    async with asyncio.timeout(60):
        await watching
    # Without the flood once more, as other load of the machine may have changed.
    quiet += await _send(broker, _HAZARDS_HZ, _QUIET_S, lambda: event("fire"))
    async with asyncio.timeout(60):
        while (await broker.depth("fire.quick")).ready:
            await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    await broker.close()
    return quiet, loud, sent.value


def run(seconds: float = 120.0, factor: float = 20.0, bound: int | None = None) -> list[tuple[str, str, str]]:
    """(what, measured, aim); `bound` tries another length of the motion queue."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server = Rabbit(home / "rabbit")
        server.start()
        ledger = home / "ledger"
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "BONGSU_BROKER_URL": server.url, "OVERLOAD_LEDGER": str(ledger),
            "BONGSU_LOG_LEVEL": "error",
        }  # fmt: skip
        workers: list[subprocess.Popen[bytes]] = []
        try:
            usual = queue("motion")
            motion = Queue("motion", "motion", max_length=bound or usual.max_length, ttl_s=usual.ttl_s)
            asyncio.run(_declare(server.url, motion))
            for name, source in (("slow", _SLOW), ("quick", _QUICK)):
                (home / f"{name}.py").write_text(source)
                command = [sys.executable, "-m", "functions", str(home / f"{name}.py")]
                workers.append(subprocess.Popen(command, env=environment))
            time.sleep(3)
            beam = next(p for p in psutil.Process(server.pid).children(recursive=True) if "beam" in p.name())
            pids = {"detector": workers[0].pid, "map": workers[1].pid, "broker": beam.pid}
            use = _Use({name: psutil.Process(pid) for name, pid in pids.items()})
            quiet, loud, flooded = asyncio.run(_measure(server.url, seconds, factor / _WORK_S, use))
            seen = [line.split() for line in ledger.read_text().splitlines()]
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait(30)
            server.stop()
    ages = {id_: float(age) for kind, id_, age in seen if kind == "fire"}
    bursts = sorted(float(age) for kind, _, age in seen if kind == "motion")
    measured = [_spread([1000 * ages[id_] for id_ in part if id_ in ages]) for part in (quiet, loud)]
    machine = f"{use.machine:.2f} of {os.cpu_count()} cores busy"
    return [
        (f"bursts sent in {seconds:.0f} s, and consumed", f"{flooded:,}, {len(bursts):,}", f"{factor:g}x"),
        ("age of a burst when consumed", f"p50 {statistics.median(bursts):.1f} s, most {bursts[-1]:.1f} s", "bounded"),
        ("hazards delivered", f"{len(ages):,} of {len(quiet) + len(loud):,}", "all"),
        ("publish to handler of a hazard, idle", measured[0], ""),
        ("publish to handler of a hazard, flooded", measured[1], "<= 2x idle"),
        ("most memory", ", ".join(f"{n} {m / 1e6:.0f} MB" for n, m in use.most_bytes.items()), "bounded"),
        ("CPU while flooded", ", ".join([*(f"{n} {c:.2f}" for n, c in use.cpu.items()), machine]), ""),
    ]  # fmt: skip


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """The same for the table of `make bench`."""
    return [(f"overload: {what}", measured, aim) for what, measured, aim in run(max(20.0, 120 * scale))]


def _spread(milliseconds: Sequence[float]) -> str:
    p95 = statistics.quantiles(milliseconds, n=20)[-1]
    return f"p50 {statistics.median(milliseconds):.1f} ms, p95 {p95:.1f} ms, most {max(milliseconds):.1f} ms"


async def _declare(url: str, motion: Queue) -> None:
    broker = await connect(url)
    await broker.declare([motion, *queues(["fire.quick"])])
    await broker.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--factor", type=float, default=20.0)
    parser.add_argument("--bound", type=int)
    chosen = parser.parse_args()
    for row in run(chosen.seconds, chosen.factor, chosen.bound):
        print("| " + " | ".join(row) + " |")
