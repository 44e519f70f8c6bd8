"""The runtime against the memory broker: what a handler returns or raises decides what becomes of its event."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from functions import CustomEvent, Event, HazardSeen, Reject, Retry, encode, on
from functions.broker import BrokerError
from functions.broker.memory import MemoryBroker
from functions.event import Message
from functions.function import Function, Subscription
from functions.runtime import run
from functions.testing import make_event, run_function


def event(event_type: str = "fire", **fields: Any) -> Any:
    return make_event(event_type, **fields)


def parked(seen: HazardSeen) -> CustomEvent:
    return CustomEvent(
        id=seen.id, type="parked", camera=seen.camera, place=seen.place, captured_at=seen.captured_at, trace=seen.trace
    )


def function(*handlers: Callable[..., Any]) -> Function:
    subscriptions: list[Subscription] = [h.__bongsu_subscription__ for h in handlers]  # type: ignore[attr-defined]
    return Function("test", tuple(subscriptions))


@contextlib.asynccontextmanager
async def running(broker: MemoryBroker, *handlers: Callable[..., Any], grace_s: float = 5) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    task = asyncio.create_task(run(function(*handlers), broker, stopping, grace_s=grace_s))
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        stopping.set()
        await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def left(broker: MemoryBroker, queue: str) -> tuple[int, int | None]:
    depth = await broker.depth(queue)
    return depth.ready, depth.unacked


async def test_a_handler_gets_the_event_and_it_is_acknowledged() -> None:
    seen: list[Event] = []

    @on("fire")
    async def handle(event: Event) -> None:
        seen.append(event)

    sent = event()
    outcome = await run_function(handle, sent)
    assert seen == [sent] == list(outcome.handled)


async def test_a_plain_function_is_a_handler_too() -> None:
    seen: list[str] = []

    @on("fire")
    def handle(event: Event) -> None:
        seen.append(event.id)

    await run_function(handle, event())
    assert len(seen) == 1


async def test_what_a_handler_returns_is_published_with_its_stage() -> None:
    @on("fire")
    async def handle(event: HazardSeen) -> list[Event]:
        return [parked(event)]

    sent = event()
    (got,) = (await run_function(handle, sent, readers=["parked.next"])).published
    assert (got.id, got.type) == (sent.id, "parked")
    assert [s.name for s in got.trace] == ["handle"]
    assert got.time <= got.trace[0].got_at <= got.trace[0].done_at


async def test_retry_comes_back_and_reject_is_kept() -> None:
    broker, attempts = MemoryBroker(), []

    @on("fire")
    async def handle(event: Event) -> None:
        attempts.append(event.id)
        if len(attempts) == 1:
            raise Retry("feed away", after=0.05)
        raise Reject("no snapshot")

    async with running(broker, handle):
        await broker.publish(encode(event()))
        await until(lambda: len(attempts) == 2)
    (letter,) = await broker.dead_letters()
    assert (letter.queue, letter.reason, letter.attempts) == ("fire.test", "no snapshot", 2)


async def test_any_other_error_is_retried_until_it_is_a_dead_letter() -> None:
    @on("fire")
    async def handle(event: Event) -> None:
        raise ZeroDivisionError("a bug")

    outcome = await run_function(handle, event())
    assert outcome.dead[0].reason == "ZeroDivisionError: a bug (delivery 8 of 8)"
    waits = [retried.after_s for retried in outcome.retried]
    assert len(waits) == 8 and waits[0] < 2 and waits[-1] > 40


async def test_undecodable_bytes_are_dead_lettered() -> None:
    broker, seen = MemoryBroker(), []

    @on("fire")
    async def handle(event: Event) -> None:
        seen.append(event.id)

    async with running(broker, handle):
        await broker.publish(Message("fire", b"\xc1 garbage", {}), encode(event()))
        await until(lambda: len(seen) == 1)
    (letter,) = await broker.dead_letters()
    assert letter.reason.startswith("not an event")


async def test_event_of_another_type_than_its_queue_is_dead_lettered() -> None:
    # Who may publish `camera` alone could otherwise put a fire on the map.
    broker, seen = MemoryBroker(), []

    @on("camera", "fire")
    async def handle(event: Event) -> None:
        seen.append(event.id)

    async with running(broker, handle):
        await broker.publish(Message("camera", encode(event()).body, {}), encode(event()))
        await until(lambda: len(seen) == 1)
    (letter,) = await broker.dead_letters()
    assert "not an event of type 'camera', for which it was published, but 'fire'" in letter.reason


async def test_bad_event_does_not_fail_its_batch() -> None:
    calls: list[int] = []

    @on("fire", batch=8)
    async def handle(events: Sequence[HazardSeen]) -> None:
        calls.append(len(events))
        if any(e.camera == "bad" for e in events):
            raise Reject("bad event")

    outcome = await run_function(handle, *(event(camera="bad" if i == 1 else "gate-1") for i in range(4)))
    assert calls == [4, 1, 1, 1, 1]
    assert (len(outcome.handled), len(outcome.dead)) == (3, 1)


async def test_a_resource_is_opened_once_and_closed_at_the_end() -> None:
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[str]:
        log.append("open")
        yield "resource"
        log.append("close")

    @on("fire", uses=opened)
    async def handle(event: Event, resource: str) -> None:
        log.append(resource)

    await run_function(handle, event(), event())
    assert log == ["open", "resource", "resource", "close"]


async def test_a_broker_that_comes_back_empty_gets_its_queues_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.subscription_worker._backoff", lambda attempt: 0.0)

    class Emptied(MemoryBroker):
        is_emptied = False

        def consume(self, queues: Sequence[str], prefetch: int = 1) -> Any:
            if not self.is_emptied:
                self.is_emptied = True
                self._queues.clear()
                raise BrokerError("the connection was lost")
            return super().consume(queues, prefetch)

    broker, seen = Emptied(), []

    @on("fire")
    async def handle(event: Event) -> None:
        seen.append(event.id)

    async with running(broker, handle):
        await until(lambda: "fire.test" in broker._queues)
        await broker.publish(encode(event()))
        await until(lambda: len(seen) == 1)


async def test_stopping_does_not_wait_for_a_stuck_resource() -> None:
    broker = MemoryBroker()

    @contextlib.asynccontextmanager
    async def never() -> AsyncIterator[str]:
        await asyncio.sleep(60)
        yield "never"

    @on("fire", uses=never)
    async def handle(event: Event, resource: str) -> None: ...

    async with asyncio.timeout(3), running(broker, handle):
        await broker.publish(encode(event()))
    assert await left(broker, "fire.test") == (1, 0)


async def test_stopping_finishes_current_work_and_returns_the_rest() -> None:
    broker, log = MemoryBroker(), []

    @on("fire")
    async def handle(event: Event) -> None:
        log.append("begun")
        await asyncio.sleep(0.2)
        log.append("done")

    async with running(broker, handle):
        await broker.publish(*(encode(event()) for _ in range(3)))
        await until(lambda: log == ["begun"])
    assert log == ["begun", "done"]
    assert await left(broker, "fire.test") == (2, 0)


async def test_a_handler_that_outlasts_the_grace_period_is_given_back() -> None:
    broker, log = MemoryBroker(), []

    @on("fire")
    async def handle(event: Event) -> None:
        log.append("begun")
        await asyncio.sleep(60)

    async with running(broker, handle, grace_s=0.1):
        await broker.publish(encode(event()))
        await until(lambda: log == ["begun"])
    assert await left(broker, "fire.test") == (1, 0)


async def test_a_handler_that_hangs_is_given_up_and_retried() -> None:
    calls: list[str] = []

    @on("fire", timeout_s=0.05)
    async def handle(event: Event) -> None:
        calls.append(event.id)
        if len(calls) == 1:
            await asyncio.sleep(60)

    outcome = await run_function(handle, event())
    assert [retried.reason for retried in outcome.retried] == ["handler took more than 0.05 s"]
    assert len(outcome.handled) == 1


async def cancels(_event: Event) -> None:
    raise asyncio.CancelledError


async def times_out(_event: Event) -> None:
    raise TimeoutError("camera 5 did not answer")


def exits(_event: Event) -> None:
    raise SystemExit("no key")


def runs_out(_event: Event) -> Event:
    return next(iter(()))


def names_a_file(_event: Event) -> None:
    raise ValueError("no picture " + os.fsdecode(b"\xff.jpg"))


@pytest.mark.parametrize(
    ("handle", "reason"),
    [
        (cancels, "RuntimeError: handler was cancelled by itself"),
        (times_out, "TimeoutError: camera 5 did not answer"),
        (exits, "RuntimeError: handler asked to exit (no key)"),
        (runs_out, "RuntimeError: handler raised StopIteration"),
        (names_a_file, r"ValueError: no picture \udcff.jpg"),
    ],
)
async def test_whatever_a_handler_raises_is_told_and_counted(handle: Callable[..., Any], reason: str) -> None:
    (dead,) = (await run_function(on("fire")(handle), event())).dead
    assert dead.reason.startswith(reason)
    assert dead.attempts == 8


async def test_hung_plain_handlers_do_not_block_the_next() -> None:
    # As few threads as the loop may have: each that hangs would be one less.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    broker, gate, seen = MemoryBroker(), threading.Event(), []

    @on("fire", timeout_s=0.05)
    def handle(event: Event) -> None:
        seen.append(event.camera)
        if event.camera == "stuck":
            gate.wait()

    async with running(broker, handle):
        await broker.publish(*(encode(event(camera="stuck")) for _ in range(3)), encode(event()))
        try:
            await until(lambda: "gate-1" in seen)
        finally:
            gate.set()


async def test_plain_generator_handler_runs_in_its_thread() -> None:
    threads: list[threading.Thread] = []

    @on("fire")
    def handle(event: HazardSeen) -> Iterator[Event]:
        threads.append(threading.current_thread())
        yield parked(event)

    assert len((await run_function(handle, event())).published) == 1
    assert threads[0] is not threading.main_thread()


async def test_wrong_return_type_is_a_dead_letter() -> None:
    @on("fire")
    async def handle(event: Event) -> list[str]:
        return ["fire"]

    assert "returned str" in (await run_function(handle, event())).dead[0].reason
