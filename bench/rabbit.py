"""RabbitBroker and the runtime on it, each against a bare aio-pika program in the same run.

The bare consumer only acknowledges: no decoding, no log, no metrics. The bare publisher gathers its confirms. The
comparison gives the cost of our additions, on one core each with the same broker.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import multiprocessing.queues
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aio_pika

from functions import Event, Frame, HazardSeen, Place, encode, new_id, on, telemetry, utc_now
from functions.broker import connect
from functions.event import Message
from functions.function import Function
from functions.runtime import run
from functions.topology import EXCHANGE, queues
from tests.servers import Rabbit

QUEUE = "fire.bench"
_WINDOW = 64
_PREFETCH = 32


def event(size: int) -> Event:
    """A hazard of about this many bytes on the wire."""
    place = Place(37.5, 127.0, "gate")
    frame = Frame(os.urandom(max(0, size - 400)), utc_now())
    return HazardSeen(id=new_id(), hazard="fire", camera="gate-1", place=place, captured_at=utc_now(), frame=frame)


# Consumers: each in its own process, on a queue that is already full; messages per second from first to last.


async def _consume_ours(url: str, count: int) -> float:
    times: list[float] = []
    stopping = asyncio.Event()

    @on("fire")
    async def bench(event: Event) -> None:
        times.append(time.perf_counter())
        if len(times) == count:
            stopping.set()

    broker = await connect(url)
    await run(Function("bench", (bench.__bongsu_subscription__,)), broker, stopping)  # type: ignore[attr-defined]
    await broker.close()
    return (count - 1) / (times[-1] - times[0])


async def _consume_bare(url: str, count: int) -> float:
    times: list[float] = []
    done = asyncio.Event()

    async def bench(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        async with message.process():
            times.append(time.perf_counter())
            if len(times) == count:
                done.set()

    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=_PREFETCH)
    await (await channel.get_queue(QUEUE)).consume(bench)
    await done.wait()
    await connection.close()
    return (count - 1) / (times[-1] - times[0])


# Publishers: messages per second, each confirmed, in windows.


async def _publish_ours(url: str, count: int, size: int) -> float:
    broker = await connect(url)
    messages = [encode(event(size)) for _ in range(_WINDOW)]
    begun = time.perf_counter()
    for _ in range(count // _WINDOW):
        await broker.publish(*messages)
    taken_s = time.perf_counter() - begun
    await broker.close()
    return count // _WINDOW * _WINDOW / taken_s


async def _publish_bare(url: str, count: int, size: int) -> float:
    connection = await aio_pika.connect(url)
    channel = await connection.channel(on_return_raises=True)
    exchange = await channel.get_exchange(EXCHANGE)
    bodies = [encode(event(size)).body for _ in range(_WINDOW)]
    begun = time.perf_counter()
    for _ in range(count // _WINDOW):
        await asyncio.gather(
            *(
                exchange.publish(aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), "fire")
                for body in bodies
            )
        )
    taken_s = time.perf_counter() - begun
    await connection.close()
    return count // _WINDOW * _WINDOW / taken_s


async def _latencies(url: str, count: int) -> list[float]:
    """Seconds from publish to handler, at 50 a second, publisher and function in one process."""
    sent: dict[str, float] = {}
    taken: list[float] = []
    stopping = asyncio.Event()

    @on("fire")
    async def bench(event: Event) -> None:
        taken.append(time.perf_counter() - sent[event.id])

    consuming, publishing = await connect(url), await connect(url)
    function = Function("bench", (bench.__bongsu_subscription__,))  # type: ignore[attr-defined]
    running = asyncio.create_task(run(function, consuming, stopping))
    await asyncio.sleep(0.5)
    begun = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / 50 - time.perf_counter()))
        sending = event(1_000)
        sent[sending.id] = time.perf_counter()
        await publishing.publish(encode(sending))
    while len(taken) < count:
        await asyncio.sleep(0.05)
    stopping.set()
    await running
    await consuming.close()
    await publishing.close()
    return taken


async def _fill(url: str, count: int, size: int) -> None:
    broker = await connect(url)
    await broker.declare(queues([QUEUE]))
    message: Message = encode(event(size))
    for _ in range(count // _WINDOW):
        await broker.publish(*[message] * _WINDOW)
    await broker.close()


async def _purge(url: str) -> None:
    connection = await aio_pika.connect(url)
    await (await (await connection.channel()).get_queue(QUEUE)).purge()
    await connection.close()


def _in_process(measure: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run it in a new process, without state of the last measurement."""
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=_answer, args=(answer, measure, arguments))
    process.start()
    value = answer.get()
    process.join()
    return value


def _answer(answer: Any, measure: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    # Logs are written as in production, to nowhere.
    with Path("/dev/null").open("w") as sys.stderr:
        telemetry.start("bench")
        answer.put(asyncio.run(measure(*arguments)))


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    table = []
    with tempfile.TemporaryDirectory() as folder:
        server = Rabbit(Path(folder))
        server.start()
        try:
            url = server.url
            for size, count, aim in ((1_000, 12_800, "75 %"), (60_000, 2_560, "90 %")):
                number = max(640, int(count * scale))
                measured = _compare(url, _consume_ours, _consume_bare, number, size, fill=True)
                table.append((f"RabbitMQ: runtime to bare consumer, {size // 1000} KB", measured, f">= {aim}"))
            for size, count in ((1_000, 12_800), (60_000, 2_560)):
                number = max(640, int(count * scale))
                measured = _compare(url, _publish_ours, _publish_bare, number, size, fill=False)
                table.append((f"RabbitMQ: publish to bare gathered confirms, {size // 1000} KB", measured, ">= 80 %"))
            asyncio.run(_purge(url))
            taken = sorted(_in_process(_latencies, url, max(100, int(1_500 * scale))))
            p50, p99 = (1000 * taken[int(len(taken) * share)] for share in (0.5, 0.99))
            table.append(
                ("RabbitMQ: publish to handler at 50/s", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", "<= 10 ms p99")
            )
        finally:
            server.stop()
    return table


def _compare(url: str, ours: Callable[..., Any], bare: Callable[..., Any], count: int, size: int, *, fill: bool) -> str:
    """Three rounds of each by turns, and the ratio of the medians."""
    count -= count % _WINDOW
    results: dict[str, list[float]] = {"ours": [], "bare": []}
    asyncio.run(_fill(url, 0, size))
    for _ in range(3):
        for name, measure in (("bare", bare), ("ours", ours)):
            asyncio.run(_purge(url))
            if fill:
                asyncio.run(_fill(url, count, size))
            results[name].append(_in_process(measure, url, count, *(() if fill else (size,))))
    mine, other = (statistics.median(results[name]) for name in ("ours", "bare"))
    return f"{mine / other:.0%} ({mine:,.0f}/s, bare {other:,.0f}/s)"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    for row in rows(parser.parse_args().scale):
        print(" | ".join(row))
