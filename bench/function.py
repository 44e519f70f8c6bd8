"""Time until a new function process handles its first event, started as on a cluster."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from functions import Event, Place, encode, new_id, utc_now
from functions.broker import connect
from functions.signature import new_private_key, public_key_of
from functions.topology import queues

ROOT = Path(__file__).parents[1]
_HOSPITAL = """
import time
from functions import Event, on

@on("accident")
async def call(event: Event) -> None:
    print(time.time(), flush=True)
"""


async def _first_call(folder: Path, target: str, event_type: str, name: str) -> float:
    """Seconds from starting the process until its first event is handled."""
    url = f"sqlite:///{folder}/broker.db"
    broker = await connect(url)
    await broker.declare(queues([f"{event_type}.{name}"]))
    place = Place(37.5, 127.0, "bench")
    event = Event(id=new_id(), type=event_type, camera="bench", place=place, captured_at=utc_now(), status="live")
    await broker.publish(encode(event))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BONGSU_BROKER_URL": url,
        "BONGSU_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/bongsu.db",
        "BONGSU_SNAPSHOT_URL": str(folder / "snapshots"),
        "BONGSU_CAPTION_PUBLIC_KEYS": public_key_of(new_private_key()),
    }
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "functions", target],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while (depth := await broker.depth(f"{event_type}.{name}")).ready or depth.unacked:
            if process.poll() is not None:
                raise RuntimeError(f"{target} ended with status {process.returncode} before its first event")
            await asyncio.sleep(0.002)
        took = time.perf_counter() - begun
        process.terminate()
    await broker.close()
    return took


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    count, table = max(3, int(9 * scale)), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "hospital.py").write_text(_HOSPITAL)
        for what, target, event_type, function in (
            ("a function in one file", str(folder / "hospital.py"), "accident", "hospital"),
            ("the map writer (SQLAlchemy, database opened)", "notify.map", "camera", "map"),
        ):
            took = [asyncio.run(_first_call(folder, target, event_type, function)) for _ in range(count)]
            measured = f"{statistics.median(took):.2f} s (max {max(took):.2f} s)"
            table.append((f"New process to first event handled: {what}", measured, "<= 0.8 s"))
    return table
