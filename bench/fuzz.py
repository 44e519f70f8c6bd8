"""100,000 hostile messages through a worker on a real RabbitMQ: each a dead letter with its reason, nobody dies of it.

Random bytes, truncated and altered events, wrong types and versions, huge fields, deep nesting, lying lengths. Between
them real events, which must all be handled. The worker's memory is read after a tenth and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bench.servers import Rabbit
from functions import Event, Message, Place, encode, new_id, utc_now
from functions.broker import connect
from functions.event import DecodeError, decode
from functions.topology import DEAD, queues

ROOT = Path(__file__).parents[1]
COURIER = """
import os
from functions import Event, on

@on("fire")
async def deliver(event: Event) -> None:
    with open(os.environ["FUZZ_LEDGER"], "a") as ledger:
        ledger.write(event.id + "\\n")
"""
_EVERY = 100
"""One message in so many is a real event."""


def fire() -> Event:
    """A real event."""
    return Event(id=new_id(), type="fire", camera="gate-1", place=Place(37.5, 127.0, "gate"), captured_at=utc_now())


def hostile(seed: int) -> Iterator[bytes]:
    """Bodies that are no events, for ever, the same for the same seed."""
    dice = random.Random(seed)
    while True:
        body = dice.choice(_KINDS)(dice)
        try:
            decode(body)
        except DecodeError:
            yield body


def _noise(dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(400))


def _truncated(dice: random.Random) -> bytes:
    body = encode(fire()).body
    return body[: dice.randrange(len(body))]


def _altered(dice: random.Random) -> bytes:
    body = bytearray(encode(fire()).body)
    for _ in range(dice.randrange(1, 6)):
        body[dice.randrange(len(body))] = dice.randrange(256)
    return bytes(body)


def _wrong(dice: random.Random) -> bytes:
    """One field with a value of a wrong type, range or size."""
    fields: dict[str, Any] = msgspec.msgpack.decode(encode(fire()).body)
    value = dice.choice(
        (
            None,
            -1,
            2**63,
            float("nan"),
            "",
            "x" * dice.randrange(20_000),
            b"\xff" * 300,
            [],
            {},
            [[[]]],
            {"a": {}},
            True,
        )
    )
    fields[dice.choice(sorted(fields))] = value
    return msgspec.msgpack.encode(fields)


def _versioned(dice: random.Random) -> bytes:
    fields: dict[str, Any] = msgspec.msgpack.decode(encode(fire()).body)
    fields["version"] = dice.choice((0, 2, 99, -1, 2**40))
    return msgspec.msgpack.encode(fields)


def _deep(dice: random.Random) -> bytes:
    return b"\x91" * dice.randrange(100, 50_000) + b"\xc0"


def _lying(dice: random.Random) -> bytes:
    """A length of gigabytes, and nothing behind it."""
    return dice.choice((b"\xdd", b"\xdf", b"\xdb", b"\xc6")) + b"\xff\xff\xff\xff" + dice.randbytes(8)


def _huge(dice: random.Random) -> bytes:
    return msgspec.msgpack.encode({"id": "x" * dice.randrange(200_000)})


_KINDS = (_noise, _noise, _truncated, _truncated, _altered, _altered, _wrong, _wrong, _versioned, _deep, _lying, _huge)


async def _flood(url: str, count: int, seed: int, process: psutil.Process) -> tuple[list[str], int, int]:
    """Publish, and wait until the worker is through: ids of the real events, and its memory early and late."""
    broker, bodies, ids, early = await connect(url), hostile(seed), [], 0
    sent = 0
    while sent < count:
        window = [Message("fire", next(bodies), {}) for _ in range(min(_EVERY, count - sent))]
        real = fire()
        ids.append(real.id)
        await broker.publish(*window, encode(real))
        sent += len(window)
        # The queue is kept short, so that it is the worker's memory that is measured and not the broker's.
        while (await broker.depth("fire.courier")).ready > 2_000:
            await asyncio.sleep(0.05)
        if not early and sent >= count // 10:
            early = process.memory_info().rss
    while (await broker.depth(DEAD)).ready < count:
        await asyncio.sleep(0.2)
    await broker.close()
    return ids, early, process.memory_info().rss


def run(count: int, seed: int) -> list[tuple[str, str, str]]:
    """(what, measured, aim)."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "courier.py").write_text(COURIER)
        ledger = home / "ledger"
        server = Rabbit(home / "rabbit")
        server.start()
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "BONGSU_BROKER_URL": server.url, "FUZZ_LEDGER": str(ledger),
            "BONGSU_LOG_LEVEL": "critical",
        }  # fmt: skip
        worker = None
        try:
            asyncio.run(_declare(server.url))
            worker = subprocess.Popen([sys.executable, "-m", "functions", str(home / "courier.py")], env=environment)
            begun = time.perf_counter()
            ids, early, late = asyncio.run(_flood(server.url, count, seed, psutil.Process(worker.pid)))
            taken_s = time.perf_counter() - begun
            is_alive = worker.poll() is None
            worker.terminate()
            code = worker.wait(30)
            handled = set(ledger.read_text().split())
            dead, reasons = asyncio.run(_dead(server.url))
        finally:
            if worker is not None and worker.poll() is None:
                worker.kill()
            server.stop()
    return [
        ("hostile messages that are dead letters", f"{dead:,} of {count:,} in {taken_s:.0f} s", "all"),
        ("of the first 1,000 dead letters, with a reason", f"{reasons:,}", "all"),
        ("real events between them that were handled", f"{len(handled & set(ids)):,} of {len(ids):,}", "all"),
        ("the worker", f"{'alive' if is_alive else 'dead'}, ended with {code}", "alive, ended with 0"),
        ("its memory after a tenth, and at the end", f"{early / 1e6:.0f} MB, {late / 1e6:.0f} MB", "flat"),
    ]


async def _declare(url: str) -> None:
    broker = await connect(url)
    await broker.declare(queues(["fire.courier"]))
    await broker.close()


async def _dead(url: str) -> tuple[int, int]:
    broker = await connect(url)
    count = (await broker.depth(DEAD)).ready
    reasons = sum("not an event" in letter.reason for letter in await broker.dead_letters(limit=1_000))
    await broker.close()
    return count, reasons


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    for row in run(chosen.count, chosen.seed):
        print("| " + " | ".join(row) + " |")
