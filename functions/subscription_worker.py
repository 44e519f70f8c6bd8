"""Serves one subscription of a function: takes events, calls the handler, publishes its results, acknowledges."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import structlog

from functions import telemetry
from functions.backoff import backoff_s
from functions.broker import Broker, BrokerError, Consumer, Delivery, TooLarge, Unroutable
from functions.buffer import EventBuffer
from functions.caller import Caller, Overdue
from functions.event import DecodeError, Event, Stage, decode_as, encode, utc_now
from functions.function import Reject, Retry, Subscription
from functions.handler_metrics import HandlerMetrics
from functions.hook import failure
from functions.prefetch import LEAST, PrefetchController
from functions.topology import queue, queue_name, queues

log = structlog.get_logger()

_MAX_BACKOFF_S = 60.0
_RECONNECT_MAX_S = 10.0
_SUSPECT = 2
"""An event whose worker died this often is handled alone, because it may be the cause."""


class StartError(RuntimeError):
    """The resource that a function `uses` cannot be opened; the message says which and why."""


class _BrokerUnreachable(Exception):
    """A handler's results could not be published."""

    def __init__(self, error: BrokerError) -> None:
        super().__init__(str(error))
        self.error = error


class SubscriptionWorker:
    """One subscription: its resource, its consumer, its handler."""

    def __init__(
        self,
        function: str,
        subscription: Subscription,
        broker: Broker,
        stopping: asyncio.Event,
        stopped: asyncio.Task[Any],
        *,
        record: HandlerMetrics,
        started_at: float,
        buffer: EventBuffer | None,
        bursts: str,
    ) -> None:
        """Serve `subscription` of `function` until `stopping` is set; `stopped` is a task that waits for that.

        Args:
            function: the function's name.
            subscription: whose events are taken.
            broker: where they are taken from, and what the handler returns is published.
            stopping: set when it is time to stop.
            stopped: a task that is done as soon as `stopping` is set.
            record: counts what was handled, for all subscriptions of the function.
            started_at: `time.time()` at which the process was requested.
            buffer: keeps what handlers return while the broker is unreachable, if given.
            bursts: the queue from which motion events are taken.
        """
        self._function = function
        self._subscription = subscription
        self._broker = broker
        self._stopping = stopping
        self._stopped = stopped
        """Done as soon as `stopping` is set; it can be awaited together with another task."""
        stopped.add_done_callback(self._end_wait)
        self._record = record
        self._started_at = started_at
        self._buffer = buffer
        self._types = {queue_name(type_, function, bursts): type_ for type_ in subscription.types}
        self._caller = Caller(subscription)
        self._waiting: asyncio.Timeout | None = None
        self._is_first = True
        self._lost_brokers = 0
        """Connections lost in a row; 0 once subscribed again."""

    async def serve(self) -> None:
        """Handle events until it is time to stop; wait while the broker is unreachable.

        Raises:
            StartError: the resource cannot be opened.
        """
        async with contextlib.AsyncExitStack() as stack:
            arguments: tuple[Any, ...] = ()
            if self._subscription.uses is not None:
                # A resource may wait without limit for a database that is down; a stop ends that wait.
                opening = asyncio.create_task(stack.enter_async_context(self._subscription.uses()))
                if not await self._unless_stopping(opening):
                    return
                try:
                    arguments = (opening.result(),)
                except Exception as error:
                    raise StartError(f"{self._function} cannot start: {type(error).__name__}: {error}") from error
            log.info("function_ready", function=self._function, startup_s=round(time.time() - self._started_at, 3))
            while not self._stopping.is_set():
                try:
                    await self._consume(arguments)
                except BrokerError as error:
                    telemetry.set_healthy(False)
                    self._lost_brokers += 1
                    log.warning("broker_unavailable", reason=str(error), attempt=self._lost_brokers)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(reconnect_s(self._lost_brokers)):
                            await self._stopping.wait()

    async def _consume(self, arguments: tuple[Any, ...]) -> None:
        names = list(self._types)
        batch = self._subscription.batch
        if self._lost_brokers:
            # The broker may have lost its queues.
            await self._broker.ensure(queues(names))
        if self._buffer is not None:
            await self._buffer.flush(self._broker)
        # One batch is prefetched while the one before it is being handled.
        size = LEAST if batch == 1 else 2 * batch
        async with self._broker.consume(names, prefetch=size) as consumer:
            self._lost_brokers = 0
            telemetry.set_healthy(True)
            window = PrefetchController(consumer, size=size, is_fixed=batch > 1)
            try:
                while not self._stopping.is_set():
                    deliveries = await self._gather(consumer)
                    if not deliveries:
                        continue
                    # If it kills this worker, every other event that we hold counts one more delivery too.
                    is_suspect = deliveries[0].deaths >= _SUSPECT
                    if is_suspect:
                        await window.shut()
                    window.begin()
                    await self._handle(deliveries, arguments)
                    if is_suspect:
                        await window.reopen()
                    await window.end()
            finally:
                await window.close()

    async def _gather(self, consumer: Consumer) -> list[Delivery]:
        """One delivery, or up to a batch of them; empty when it is time to stop."""
        first = consumer.get_nowait() or await self._wait_for(consumer)
        deliveries = [] if first is None else [first]
        if self._subscription.batch == 1 or first is None or first.deaths >= _SUSPECT:
            return deliveries
        wait_until = time.monotonic() + self._subscription.batch_wait_s
        while len(deliveries) < self._subscription.batch and not self._stopping.is_set():
            more = await consumer.get(timeout_s=max(0.0, wait_until - time.monotonic()))
            if more is None:
                break
            deliveries.append(more)
        return deliveries

    async def _wait_for(self, consumer: Consumer) -> Delivery | None:
        """The next delivery; None when it is time to stop."""
        try:
            # A timeout without a time, which `_end_wait` sets to now: a second task to wait for would cost more.
            async with asyncio.timeout(None) as self._waiting:
                return await consumer.get()
        except TimeoutError:
            return None
        finally:
            self._waiting = None

    def _end_wait(self, _stopped: object) -> None:
        if self._waiting is not None:
            self._waiting.reschedule(0)

    async def _unless_stopping(self, task: asyncio.Task[Any]) -> bool:
        """Wait for a task, or cancel it when it is time to stop; returns whether it finished."""
        await asyncio.wait([task, self._stopped], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        return not task.cancelled()

    async def _handle(self, deliveries: Sequence[Delivery], arguments: tuple[Any, ...]) -> None:
        taken: list[tuple[Delivery, Event]] = []
        for delivery in deliveries:
            try:
                taken.append((delivery, decode_as(self._types[delivery.queue], delivery.message.body)))
            except DecodeError as error:
                await delivery.reject(str(error))
                self._record.count(delivery.message.routing_key, "undecodable")
                log.error("event_rejected", queue=delivery.queue, reason=str(error))
        if not taken:
            return
        # A batch handler gets the whole batch; if that fails, it gets each event on its own, so that one bad event
        # does not make the others fail.
        if len(taken) > 1:
            if not await self._try(taken, arguments, is_last_resort=False):
                for one in taken:
                    await self._try([one], arguments, is_last_resort=True)
        else:
            await self._try(taken, arguments, is_last_resort=True)

    async def _try(
        self, taken: Sequence[tuple[Delivery, Event]], arguments: tuple[Any, ...], *, is_last_resort: bool
    ) -> bool:
        events = [event for _, event in taken]
        got_at = utc_now()
        with telemetry.handling(events[0]) if len(events) == 1 else contextlib.nullcontext():
            try:
                outputs = await self._call(events, arguments)
                stage = Stage(self._function, got_at, utc_now())
                if outputs:
                    await self._publish([o.with_stage(stage.name, got_at, stage.done_at) for o in outputs])
            except _BrokerUnreachable as away:
                # Not the fault of these events: they are given back uncounted.
                raise away.error from None
            except Exception as error:
                if not is_last_resort:
                    return False
                try:
                    await self._refuse(*taken[0], error)
                except _BrokerUnreachable as away:
                    raise away.error from None
                return True
            if len(taken) == 1:
                await taken[0][0].ack()
            else:
                await asyncio.gather(*(delivery.ack() for delivery, _ in taken))
            for event in events:
                self._record.handled(event, outputs, stage)
        return True

    async def _publish(self, outputs: Sequence[Event]) -> None:
        try:
            await self._broker.publish(*map(encode, outputs))
        except (Unroutable, TooLarge):
            raise
        except BrokerError as error:
            # The input may have expired when the broker is back (a burst is kept half a minute): keep the results.
            if self._buffer is not None:
                for output in outputs:
                    self._buffer.put(output)
                log.warning("outputs_buffered", events=len(outputs), reason=str(error))
            raise _BrokerUnreachable(error) from error

    async def _call(self, events: Sequence[Event], arguments: tuple[Any, ...]) -> list[Event]:
        first = events if self._subscription.batch > 1 else events[0]
        if self._is_first:
            self._is_first = False
            telemetry.cold_start_seconds.labels(self._function).observe(max(0.0, time.time() - self._started_at))
        begun = time.perf_counter()
        outputs = await self._caller.call(first, *arguments)
        self._record.called(time.perf_counter() - begun)
        return outputs

    async def _refuse(self, delivery: Delivery, event: Event, error: Exception) -> None:
        limit = queue(delivery.queue).delivery_limit
        is_last = isinstance(error, Reject) or (limit is not None and delivery.attempt >= limit)
        if is_last and (answer := failure(event, str(error) or type(error).__name__)):
            # Before it is a dead letter: its caller waits for this.
            await self._publish(answer)
        if isinstance(error, Reject):
            await delivery.reject(_readable(error.reason))
            self._record.count(event.type, "rejected")
            log.error("event_rejected", function=self._function, reason=error.reason)
            return
        if isinstance(error, Retry):
            reason, after_s = error.reason, error.after_s
        elif isinstance(error, Overdue):
            reason, after_s = str(error), _backoff(delivery.attempt)
        else:
            reason, after_s = f"{type(error).__name__}: {error}", _backoff(delivery.attempt)
        await delivery.retry(_readable(reason), after_s)
        self._record.count(event.type, "retried")
        is_bug = not isinstance(error, (Retry, Overdue, BrokerError))
        log.warning(
            "event_retried", function=self._function, reason=reason, after_s=round(after_s, 2),
            attempt=delivery.attempt, exc_info=error if is_bug else None,
        )  # fmt: skip


def reconnect_s(attempt: int) -> float:
    """Seconds before the next try to reach the broker; shorter than for a failed event, because events wait there."""
    return min(_RECONNECT_MAX_S, _backoff(attempt))


def _readable(reason: str) -> str:
    """A reason that any broker can store: a file's name may hold half a character, which is not valid UTF-8."""
    return reason.encode("utf-8", "backslashreplace").decode()


def _backoff(attempt: int) -> float:
    """Seconds before attempt + 1."""
    return backoff_s(attempt, first_s=0.5, longest_s=_MAX_BACKOFF_S)
