"""100,000 hostile messages through workers on RabbitMQ: each must become a dead letter, and no worker may die.

Random bytes, truncated and altered events, wrong types and versions, huge fields, deep nesting, wrong lengths. Real
events between them must all be handled. The workers' memory is read after 10, 50 and 100 %.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from functions import Event, HazardSeen, Message, Place, encode, new_id, utc_now
from functions.broker import connect
from functions.event import DecodeError, decode
from functions.topology import DEAD, queues
from tests.servers import Rabbit

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
"""One message in this many is a real event."""
_LOOKS = (0.1, 0.5, 1.0)
"""When the workers' memory is read."""
_PATIENCE_S = 120.0


def fire() -> Event:
    """A real event."""
    return HazardSeen(
        id=new_id(), hazard="fire", camera="gate-1", place=Place(37.5, 127.0, "gate"), captured_at=utc_now()
    )


def hostile(seed: int) -> Iterator[bytes]:
    """Endless bodies that are not events, the same for the same seed."""
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
    """A declared length of gigabytes without data."""
    return dice.choice((b"\xdd", b"\xdf", b"\xdb", b"\xc6")) + b"\xff\xff\xff\xff" + dice.randbytes(8)


def _huge(dice: random.Random) -> bytes:
    return msgspec.msgpack.encode({"id": "x" * dice.randrange(200_000)})


_KINDS = (_noise, _noise, _truncated, _truncated, _altered, _altered, _wrong, _wrong, _versioned, _deep, _lying, _huge)


async def _flood(url: str, count: int, seed: int, workers: Sequence[psutil.Process]) -> tuple[list[str], list[int]]:
    """Publish, and wait until all is handled: ids of the real events, and memory at each of `_LOOKS`."""
    broker, bodies, ids, memory = await connect(url), hostile(seed), [], []
    sent = 0
    looks = [int(count * share) for share in _LOOKS]
    while sent < count:
        window = [Message("fire", next(bodies), {}) for _ in range(min(_EVERY, count - sent))]
        real = fire()
        ids.append(real.id)
        await broker.publish(*window, encode(real))
        sent += len(window)
        # The queue is kept short, so that messages are in the workers' memory rather than the broker's.
        while (await broker.depth("fire.courier")).ready > 2_000:
            await asyncio.sleep(0.05)
        if len(memory) < len(looks) - 1 and sent >= looks[len(memory)]:
            memory.append(_memory(workers))
    # Less than a full queue is left by now; the wait is limited, as a dead worker would never finish it.
    end = time.monotonic() + _PATIENCE_S
    while (await broker.depth(DEAD)).ready < count and time.monotonic() < end:
        await asyncio.sleep(0.5)
    await broker.close()
    return ids, [*memory, _memory(workers)]


def _memory(workers: Sequence[psutil.Process]) -> int:
    """Bytes of the largest worker; 0 if one is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return max(worker.memory_info().rss for worker in workers)
    return 0


def run(count: int, seed: int, replicas: int = 2) -> list[str]:
    """Print the table; returns the violated guarantees."""
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
        command = [sys.executable, "-m", "functions", str(home / "courier.py")]
        workers: list[subprocess.Popen[bytes]] = []
        try:
            asyncio.run(_declare(server.url))
            workers += [subprocess.Popen(command, env=environment) for _ in range(replicas)]
            # A worker that is still importing would make the first memory reading too small.
            while f"fire.courier\t{replicas}" not in server.ctl("list_queues", "name", "consumers"):
                time.sleep(0.5)
            begun = time.perf_counter()
            ids, memory = asyncio.run(_flood(server.url, count, seed, [psutil.Process(w.pid) for w in workers]))
            taken_s = time.perf_counter() - begun
            is_alive = all(worker.poll() is None for worker in workers)
            for worker in workers:
                worker.terminate()
            codes = {worker.wait(30) for worker in workers}
            handled = set(ledger.read_text().split())
            dead, looked, reasons = asyncio.run(_dead(server.url))
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.kill()
            server.stop()
    shown = ", ".join(f"{bytes_ / 1e6:.0f} MB" for bytes_ in memory)
    early, late = memory[0], memory[-1]
    holds = {
        "hostile messages that are dead letters": (
            f"{dead:,} of {count:,} in {taken_s:.0f} s ({count / taken_s:.0f}/s)", "all", dead == count
        ),
        f"of the first {looked:,} dead letters, with a reason": (f"{reasons:,}", "all", reasons == looked),
        "real events between them that were handled": (
            f"{len(handled & set(ids)):,} of {len(ids):,}", "all", handled == set(ids)
        ),
        f"the {replicas} workers": (
            f"{'alive' if is_alive else 'dead'}, ended with {', '.join(map(str, codes))}", "alive, ended with 0",
            is_alive and codes == {0},
        ),
        f"memory of the largest after {', '.join(f'{share:.0%}' for share in _LOOKS)}": (
            shown, "flat", 0 < late <= 1.2 * early
        ),
    }  # fmt: skip
    for what, (measured, aim, _) in holds.items():
        print(f"| {what} | {measured} | {aim} |")
    return [what for what, (*_, is_kept) in holds.items() if not is_kept]


async def _declare(url: str) -> None:
    broker = await connect(url)
    await broker.declare(queues(["fire.courier"]))
    await broker.close()


async def _dead(url: str) -> tuple[int, int, int]:
    """Numbers of dead letters, of those that were read, and of those among them with a reason."""
    broker = await connect(url)
    count = (await broker.depth(DEAD)).ready
    letters = await broker.dead_letters(limit=1_000)
    await broker.close()
    return count, len(letters), sum("not an event" in letter.reason for letter in letters)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=2)
    chosen = parser.parse_args()
    if broken := run(chosen.count, chosen.seed, chosen.replicas):
        sys.exit(f"BROKEN: {'; '.join(broken)}")
