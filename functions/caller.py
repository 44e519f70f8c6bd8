"""Calls a handler: a coroutine on the loop, a plain function in a thread; each subscription worker has a `Caller`."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from functions.event import Event
from functions.function import Reject, Subscription


class Overdue(Exception):
    """A call took longer than its timeout."""


class Caller:
    """Whatever a handler does, the caller gets events or an `Exception`, within the timeout."""

    def __init__(self, subscription: Subscription) -> None:
        """Call the handler of this subscription."""
        self._handler = subscription.handler
        self._timeout_s = subscription.timeout_s
        self._is_async = inspect.iscoroutinefunction(subscription.handler)
        # Its own thread, not one of the loop's few: a handler that hangs would leave fewer for the next calls.
        self._thread = _thread()

    async def call(self, *arguments: Any) -> list[Event]:
        """Call the handler and return its events.

        Raises:
            Overdue: it took too long. A coroutine was cancelled; a plain function keeps running in its thread.
            Exception: what it raised; a `RuntimeError` in place of what would end the process, or this task silently.
        """
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                if self._is_async:
                    return _outputs(await self._handler(*arguments))
                return await self._in_thread(*arguments)
        except TimeoutError:
            if limit.expired():
                raise Overdue(f"handler took more than {self._timeout_s} s") from None
            raise  # the handler's own
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise RuntimeError("handler was cancelled by itself: it awaited a task that it had cancelled") from error
        except SystemExit as error:
            raise RuntimeError(f"handler asked to exit ({error.code})") from error

    async def _in_thread(self, *arguments: Any) -> list[Event]:
        context = contextvars.copy_context()
        work = asyncio.get_running_loop().run_in_executor(self._thread, context.run, self._call_plain, arguments)
        try:
            return await work
        except asyncio.CancelledError:
            self._thread.shutdown(wait=False)
            self._thread = _thread()
            raise

    def _call_plain(self, arguments: tuple[Any, ...]) -> list[Event]:
        try:
            # A generator does its work while its outputs are collected, so that happens in the thread too.
            return _outputs(self._handler(*arguments))
        except StopIteration as error:  # a future cannot hold it: the call would never end
            raise RuntimeError("handler raised StopIteration") from error


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="handler")


def _outputs(returned: Event | Iterable[Event] | None) -> list[Event]:
    if returned is None:
        return []
    outputs = [returned] if isinstance(returned, Event) else list(returned)
    for output in outputs:
        if not isinstance(output, Event):
            raise Reject(f"handler returned {type(output).__name__}: return an Event, several, or None")
    return outputs
