"""Runs one function: takes events from its queues, calls its handlers, publishes what they return."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time

import structlog

from functions import telemetry
from functions.broker import Broker, BrokerError, connect
from functions.buffer import EventBuffer
from functions.function import DeclarationError, Function, load_function
from functions.handler_metrics import HandlerMetrics
from functions.settings import Settings, SettingsError, load
from functions.stopping import stop_event
from functions.subscription_worker import StartError, SubscriptionWorker, reconnect_s
from functions.topology import MOTION, queues

__all__ = ["StartError", "main", "run"]

log = structlog.get_logger()

_LAST_S = 3.0
"""From the end of all work to the end of the process. Added to the grace period, it is less than Kubernetes' 30 s."""


def main(target: str, started_at: float | None = None) -> None:
    """Run a function until SIGTERM or SIGINT, then finish the events that it holds and return.

    Args:
        target: a module (`notify.post`) or the path of a .py file.
        started_at: `time.time()` at which the process was asked for, for the cold start metric; now, if not given.

    Raises:
        SystemExit: with one line on stderr, if the function or a setting is unusable.
    """
    started_at = started_at or time.time()
    try:
        function = load_function(target)
        telemetry.start(function.name)
        settings = load()
        bursts = settings.burst_queue if MOTION in function.queues else MOTION
        buffer = EventBuffer.of(settings)
    except (DeclarationError, SettingsError) as error:
        sys.exit(f"bongsu: {error}")
    try:
        asyncio.run(_main(function, settings, buffer, started_at, bursts))
    except StartError as error:
        log.debug("function_not_started", exc_info=error)
        sys.exit(f"bongsu: {error}")


async def _main(
    function: Function, settings: Settings, buffer: EventBuffer | None, started_at: float, bursts: str
) -> None:
    stopping = stop_event()
    broker = await _connect(settings.broker_url, stopping)
    if broker is None:
        return
    try:
        await run(
            function, broker, stopping, grace_s=settings.grace_s, started_at=started_at, buffer=buffer, bursts=bursts
        )
    finally:
        # At exit the interpreter waits for every thread, and a handler may hang in one.
        last = threading.Timer(_LAST_S, _abandon, (function.name, 0 if stopping.is_set() else 1))
        last.daemon = True
        last.start()
        await broker.close()


def _abandon(name: str, status: int) -> None:
    """End the process although threads still run: everything that can be given back has been."""
    log.warning("handler_abandoned", function=name, threads=[t.name for t in threading.enumerate() if not t.daemon])
    os._exit(status)


async def run(
    function: Function,
    broker: Broker,
    stopping: asyncio.Event,
    *,
    grace_s: float = 25.0,
    started_at: float | None = None,
    buffer: EventBuffer | None = None,
    bursts: str = MOTION,
) -> None:
    """Serve a function's queues until `stopping` is set; the events held then have `grace_s` seconds to finish.

    Events not finished by then are given back to the broker and delivered to another worker. With a `buffer`, results
    of handlers are kept there while the broker is unreachable, and published once it is back. `bursts` is the queue
    from which motion events are taken: that of a region, or the shared one.
    """
    # Before anything slow: what is published before the queues exist is unroutable.
    with contextlib.suppress(BrokerError):
        await broker.ensure(queues(bursts if name == MOTION else name for name in function.needs))
    record = HandlerMetrics(function.name)
    stopped = asyncio.create_task(stopping.wait())
    started_at = started_at or time.time()
    workers = [
        asyncio.create_task(
            SubscriptionWorker(
                function.name,
                s,
                broker,
                stopping,
                stopped,
                record=record,
                started_at=started_at,
                buffer=buffer,
                bursts=bursts,
            ).serve()
        )
        for s in function.subscriptions
    ]
    try:
        await asyncio.wait([stopped, *workers], return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            _, late = await asyncio.wait(workers, timeout=grace_s)
            if late:
                log.warning("grace_period_exceeded", function=function.name, grace_s=grace_s)
    finally:
        telemetry.set_healthy(False)
        for task in (stopped, *workers):
            task.cancel()
        results = await asyncio.gather(*workers, return_exceptions=True)
        record.sum_up()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
    log.info("function_stopped", function=function.name)


async def _connect(url: str, stopping: asyncio.Event) -> Broker | None:
    """Connect, and retry while the broker is unreachable; each attempt is logged, because the URL may be wrong."""
    attempt = 0
    while not stopping.is_set():
        try:
            return await connect(url)
        except BrokerError as error:
            attempt += 1
            log.warning("broker_unavailable", reason=str(error), attempt=attempt)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(reconnect_s(attempt)):
                    await stopping.wait()
    return None
