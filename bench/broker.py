"""SqliteBroker across processes: publish, consume and acknowledge, in messages per second.

In the same run it measures the usual alternative: a bare `queue` table with one transaction for each step.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sqlite3
import tempfile
import time
from pathlib import Path

from functions.broker import connect
from functions.event import Message
from functions.topology import queues

QUEUE = "fire.bench"


async def _publish(path: str, count: int, size: int, window: int) -> None:
    broker = await connect(f"sqlite:///{path}")
    body = os.urandom(size)
    for start in range(0, count, window):
        await asyncio.gather(
            *(broker.publish(Message("fire", body, {"id": str(i)})) for i in range(start, min(count, start + window)))
        )
    await broker.close()


async def _consume(path: str, count: int) -> None:
    broker = await connect(f"sqlite:///{path}")
    async with broker.consume([QUEUE], prefetch=64) as consumer:
        acks: set[asyncio.Task[None]] = set()
        for _ in range(count):
            delivery = await consumer.get(30)
            if delivery is None:
                raise SystemExit("messages are missing")
            acks.add(asyncio.create_task(delivery.ack()))
            if len(acks) >= 32:
                _, acks = await asyncio.wait(acks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*acks)
    await broker.close()


async def _declare(path: str) -> None:
    broker = await connect(f"sqlite:///{path}")
    await broker.declare(queues([QUEUE]))
    await broker.close()


def _bare(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30)
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _bare_publish(path: str, count: int, size: int) -> None:
    db = _bare(path)
    body = os.urandom(size)
    for _ in range(count):
        with db:
            db.execute("INSERT INTO queue (body) VALUES (?)", (body,))


def _bare_consume(path: str, count: int) -> None:
    db = _bare(path)
    done = 0
    while done < count:
        with db:
            row = db.execute(
                "UPDATE queue SET taken = 1 WHERE id = (SELECT min(id) FROM queue WHERE taken = 0) RETURNING id, body"
            ).fetchone()
        if row is None:
            time.sleep(0.001)
            continue
        with db:
            db.execute("DELETE FROM queue WHERE id = ?", (row[0],))
        done += 1


def _run_ours(path: str, count: int, size: int) -> float:
    asyncio.run(_declare(path))
    return _timed(
        multiprocessing.Process(target=_sync, args=(_publish, path, count, size, 64)),
        multiprocessing.Process(target=_sync, args=(_consume, path, count)),
    )


def _run_bare(path: str, count: int, size: int) -> float:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, taken INTEGER DEFAULT 0, body BLOB)")
    return _timed(
        multiprocessing.Process(target=_bare_publish, args=(path, count, size)),
        multiprocessing.Process(target=_bare_consume, args=(path, count)),
    )


def _sync(function, *arguments) -> None:  # type: ignore[no-untyped-def]
    asyncio.run(function(*arguments))


def _timed(*processes: multiprocessing.Process) -> float:
    begun = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit("a process failed")
    return time.perf_counter() - begun


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    table = []
    for size, count, aim in ((1_000, 10_000, 2_000), (60_000, 2_500, 500)):
        number = max(100, int(count * scale))
        with tempfile.TemporaryDirectory() as folder:
            ours = number / _run_ours(str(Path(folder) / "ours.db"), number, size)
            bare = number / _run_bare(str(Path(folder) / "bare.db"), number, size)
        measured = f"{ours:,.0f}/s ({ours / bare:.1f}x a bare table, {bare:,.0f}/s)"
        table.append((f"SqliteBroker, publish + consume + ack, {size // 1000} KB", measured, f">= {aim:,}/s"))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    for row in rows(parser.parse_args().scale):
        print(" | ".join(row))
