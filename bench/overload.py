"""Twenty times more bursts than the detectors can take: what is shed, how old the rest is, and what hazards feel of it.

A function that needs a tenth of a second for a burst stands for the detector, one that needs nothing for the map. First
hazards alone are timed, then with the flood of bursts beside them, and the memory of every process is read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.servers import Rabbit
from functions import Event, Frame, Place, encode, new_id, utc_now
from functions.broker import Broker, connect
from functions.topology import Queue, queue, queues

ROOT = Path(__file__).parents[1]
_WORK_S = 0.1
_BURST_BYTES = 30_000
_HAZARDS_HZ = 5
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


@dataclass(slots=True)
class _Sent:
    fires: list[str] = field(default_factory=list)
    bursts: int = 0


def event(event_type: str, size: int = 0) -> Event:
    """An event of that type, with so many bytes of picture."""
    frames = (Frame(os.urandom(size), utc_now()),) if size else ()
    place = Place(37.5, 127.0, "gate")
    return Event(id=new_id(), type=event_type, camera="gate-1", place=place, captured_at=utc_now(), frames=frames)


async def _send(broker: Broker, sent: _Sent, seconds: float, bursts_hz: float) -> None:
    """Hazards at their rate, and bursts at theirs, ten windows a second."""
    begun, tick = time.monotonic(), 0
    while (now := time.monotonic() - begun) < seconds:
        messages = []
        while sent_at(tick) <= now:
            messages += [event("motion", _BURST_BYTES) for _ in range(round(bursts_hz / 10))]
            if tick % (10 // _HAZARDS_HZ) == 0:
                messages.append(event("fire"))
            tick += 1
        # Captured now: what the machine's own slowness costs before this line is not the broker's.
        for made in messages:
            if made.type == "fire":
                sent.fires.append(made.id)
            else:
                sent.bursts += 1
        await broker.publish(*map(encode, messages))
        await asyncio.sleep(max(0.0, sent_at(tick) - (time.monotonic() - begun)))


def sent_at(tick: int) -> float:
    """Seconds after the start at which a window is due."""
    return tick / 10


async def _flood(
    url: str, seconds: float, factor: float, processes: Sequence[psutil.Process]
) -> tuple[_Sent, list[int]]:
    """Idle first, then the flood: what was sent, and the most memory that each process took."""
    broker, sent = await connect(url), _Sent()
    await _send(broker, sent, min(15.0, seconds), 0)
    flood = asyncio.create_task(_send(broker, sent, seconds, factor / _WORK_S))
    most = [0] * len(processes)
    while not flood.done():
        most = [max(m, p.memory_info().rss) for m, p in zip(most, processes, strict=True)]
        await asyncio.sleep(0.5)
    await flood
    while (await broker.depth("fire.quick")).ready:
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    await broker.close()
    return sent, most


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
            watched = [*(psutil.Process(w.pid) for w in workers), beam]
            sent, most = asyncio.run(_flood(server.url, seconds, factor, watched))
            seen = [line.split() for line in ledger.read_text().splitlines()]
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait(30)
            server.stop()
    ages = {id_: float(age) for kind, id_, age in seen if kind == "fire"}
    idle = int(_HAZARDS_HZ * min(15.0, seconds))
    quiet, loud = ([1000 * ages[i] for i in part if i in ages] for part in (sent.fires[:idle], sent.fires[idle:]))
    bursts = sorted(float(age) for kind, _, age in seen if kind == "motion")
    told = [
        f"p50 {statistics.median(part):.1f} ms, p95 {statistics.quantiles(part, n=20)[-1]:.1f} ms"
        for part in (quiet, loud)
    ]
    return [
        (f"bursts sent in {seconds:.0f} s, and taken", f"{sent.bursts:,}, {len(bursts):,}", f"{factor:g}x"),
        ("age of a burst when taken", f"p50 {statistics.median(bursts):.1f} s, most {bursts[-1]:.1f} s", "bounded"),
        ("hazards delivered", f"{len(ages):,} of {len(sent.fires):,}", "all"),
        ("publish to handler of a hazard, idle", told[0], ""),
        ("publish to handler of a hazard, flooded", told[1], "<= 2x idle"),
        ("most memory: detector, map, broker", ", ".join(f"{m / 1e6:.0f} MB" for m in most), "bounded"),
    ]  # fmt: skip


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
