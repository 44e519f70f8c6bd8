"""From zero to the pin: what each process takes from its start, one after another and woken together.

Real RabbitMQ and MariaDB, one burst of the demo's fire for each round, and the processes as pods start them
(`python -m functions …`), without a cluster: the poll of KEDA, the scheduler, the container and the readiness probe
come on top of each. One after another is what triggers on a function's own queues do; together is what
`keda/patches/wake.yaml` does. `python -m bench.wake`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.detector import burst
from functions import encode, new_id, utc_now
from functions.broker import Broker, Consumer, connect
from functions.signature import new_private_key, public_key_of
from functions.topology import queues
from local.manifest import read_workloads
from store import Store
from tests.servers import Rabbit, database_server

ROOT = Path(__file__).parents[1]
DETECT, MAP, CAPTION = "detect.worker", "notify.map", "notify.caption"
HAZARDS, CAPTIONS = "fire.bench", "captioned.bench"
_WAIT_S = 120


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds after the burst was published and the first process was started."""

    hazard_s: float
    pin_s: float
    caption_s: float


class Site:
    """A broker and a database, with the commands of the processes."""

    def __init__(self, broker: Broker, store: Store, environment: dict[str, str]) -> None:
        self._broker, self._store, self._environment = broker, store, environment
        self._burst = burst()
        self._incidents = 0
        self.cpu_s: dict[str, list[float]] = {DETECT: [], MAP: [], CAPTION: []}
        """Processor time of each process of a kind, from its start to its end, with one event handled."""

    async def round(self, *, together: bool) -> Round:
        """One burst, with all processes at zero before it."""
        async with (
            self._broker.consume([HAZARDS]) as hazards,
            self._broker.consume([CAPTIONS]) as captions,
            contextlib.AsyncExitStack() as running,
        ):
            self._incidents += 1
            event = msgspec.structs.replace(
                self._burst, id=new_id(), camera=f"bench-{self._incidents}", captured_at=utc_now()
            )
            await self._broker.publish(encode(event))
            begun = time.perf_counter()
            for target in (DETECT, MAP, CAPTION) if together else (DETECT,):
                await running.enter_async_context(self._process(target))
            hazard_s = await _arrival(hazards) - begun
            for target in () if together else (MAP, CAPTION):
                await running.enter_async_context(self._process(target))
            pin, caption = await asyncio.gather(self._pin(), _arrival(captions))
        return Round(hazard_s, pin - begun, caption - begun)

    @contextlib.asynccontextmanager
    async def _process(self, target: str) -> AsyncIterator[None]:
        command = [sys.executable, "-m", "functions", target]
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=nowhere, stderr=nowhere)
        try:
            yield
        finally:
            process.terminate()
            _, status, used = await asyncio.to_thread(os.wait4, process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s[target].append(used.ru_utime + used.ru_stime)

    async def _pin(self) -> float:
        async with asyncio.timeout(_WAIT_S):
            while await self._store.incidents.get(self._incidents) is None:
                await asyncio.sleep(0.01)
        return time.perf_counter()


async def _arrival(consumer: Consumer) -> float:
    delivery = await consumer.get(_WAIT_S)
    at = time.perf_counter()
    if delivery is None:
        raise SystemExit(f"nothing came within {_WAIT_S} s: a burst expires after 30 s, so this machine is too busy")
    await delivery.ack()
    return at


async def measure(home: Path, rounds: int) -> tuple[dict[str, list[Round]], dict[str, list[float]]]:
    """The rounds of each way, by turns, so that a busy minute of the machine meets both; processor time by process."""
    rabbit, database = Rabbit(home / "rabbit"), database_server(home / "database")
    try:
        rabbit.start()
        database.start()
        broker, store = await connect(rabbit.url), await Store.open(database.url)
        names = [name for workload in read_workloads(ROOT / "keda") for name in workload.rule.queues]
        await broker.declare(queues([*names, HAZARDS, CAPTIONS]))
        key = new_private_key()
        site = Site(broker, store, {
            **os.environ, "PYTHONPATH": str(ROOT), "BONGSU_BROKER_URL": rabbit.url,
            "BONGSU_DATABASE_URL": database.url, "BONGSU_SNAPSHOT_URL": str(home / "snapshots"),
            "BONGSU_CAPTION_KEY": key, "BONGSU_CAPTION_PUBLIC_KEYS": public_key_of(key),
        })  # fmt: skip
        await site.round(together=True)  # what is read from the disk for the first time is not measured
        found: dict[str, list[Round]] = {"one after another": [], "together": []}
        for _ in range(rounds):
            for way, taken in found.items():
                taken.append(await site.round(together=way == "together"))
        await store.close()
        await broker.close()
        return found, site.cpu_s
    finally:
        database.stop()
        rabbit.stop()


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    with tempfile.TemporaryDirectory(prefix="bongsu-") as folder:
        found, cpu_s = asyncio.run(measure(Path(folder), max(1, int(9 * scale))))
    table = [
        (f"Processor time of {target}, start, one event, end", _middle(used), "") for target, used in cpu_s.items()
    ]
    for way, rounds in found.items():
        for what, seconds in (
            ("burst to hazard", [r.hazard_s for r in rounds]),
            ("burst to pin", [r.pin_s for r in rounds]),
            ("burst to caption and picture", [r.caption_s for r in rounds]),
        ):
            table.append((f"Processes started {way}: {what}", _middle(seconds), ""))
    return table


def _middle(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}, {len(seconds)} times)"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    for row in rows(parser.parse_args().scale):
        print(" | ".join(row))
