"""The acknowledgements of one channel, written to RabbitMQ in batches; each consumer has an `AckBatcher`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from aiormq.abc import AbstractChannel

from functions.broker.base import BrokerError

FAILURES = (AMQPError, ConnectionError, ChannelInvalidStateError, asyncio.TimeoutError, OSError, RuntimeError)
"""The errors of a lost or refused connection, from whichever layer notices it first."""

_GROUP_S = 0.005
"""Acknowledgements of a handler that takes longer than this are written at once, not batched."""
_PAUSE_S = 0.001
"""How long the acknowledgements of a faster handler are collected."""


def explain(error: BaseException) -> str:
    """The error of a broker or its driver, on one line.

    For a refused virtual host the driver reports only that it received an unexpected frame, not what that frame says.
    """
    text = " ".join(str(getattr(part, "reply_text", part)) for part in error.args if not isinstance(part, int))
    if "Connection.OpenOk" in text:
        return "the virtual host does not exist, or this user has no rights in it: check the path of the URL"
    return " ".join(text.split()) or type(error).__name__


class AckBatcher:
    """Batches the acknowledgements of one channel: each is written once, in order, with its neighbours in one frame.

    A message's tag is its number on the channel, 1 for the first.
    """

    def __init__(self, channel: AbstractChannel, lose: Callable[[str], None]) -> None:
        """Write to this channel; `lose` is called with the reason once the channel is known to be closed."""
        self._channel = channel
        self._lose = lose
        self.most = 1
        """When this many are collected they are written at once: the broker delivers no more until it gets them."""
        self._noted: list[tuple[int, bool]] = []
        self._ahead: set[int] = set()
        """Settled tags that cannot be written yet, because an older one is still open."""
        self._closed_to = 0
        """The newest tag up to which all are settled."""
        self._written_at = time.monotonic()
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure = ""

    @property
    def unwritten(self) -> int:
        """How many acknowledgements have not been written to the broker."""
        return len(self._noted)

    async def note(self, tag: int, *, requeue: bool = False) -> None:
        """Acknowledge, or requeue; returns once that is written, or at once if a batch was written a moment ago.

        Raises:
            BrokerError: it cannot be written, so the message will be delivered again.
        """
        self._noted.append((tag, requeue))
        if requeue or time.monotonic() - self._written_at > _GROUP_S:
            await self.flush()
        elif len(self._noted) >= self.most:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE_S, self._start)

    async def flush(self) -> None:
        """Wait until everything noted is written.

        Raises:
            BrokerError: it cannot be written, so those messages will be delivered again.
        """
        if self._noted:
            self._start()
        while self._writing is not None:
            # The caller may be cancelled; the write itself may not, or half a frame would go out.
            await asyncio.shield(self._writing)
        if self._failure:
            raise BrokerError(f"not acknowledged, will be delivered again: {self._failure}")

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """The only writer: two at once could overtake each other, and RabbitMQ refuses a tag that was acknowledged."""
        try:
            while self._noted:
                await guarded(self._send(tuple(self._noted)))
        except FAILURES as error:
            self._failure = str(error) or type(error).__name__
            self._lose(self._failure)
        finally:
            self._written_at = time.monotonic()
            self._writing = None

    async def _send(self, noted: Sequence[tuple[int, bool]]) -> None:
        requeued = [tag for tag, requeue in noted if requeue]
        done = [tag for tag, requeue in noted if not requeue]
        self._ahead.update(requeued, done)
        while self._closed_to + 1 in self._ahead:
            self._closed_to += 1
            self._ahead.discard(self._closed_to)
        for tag in requeued:
            await self._channel.basic_nack(tag, requeue=True, wait=not done)
        # `multiple` ("all up to this tag") covers a run of tags, but must not include one that is still open, and
        # must include a new one: RabbitMQ closes the channel over an acknowledgement that covers nothing.
        run = [tag for tag in done if tag <= self._closed_to]
        for tag in (tag for tag in done if tag > self._closed_to):
            await self._channel.basic_ack(tag, wait=not run)
        if run:
            await self._channel.basic_ack(max(run), multiple=True)
        self._noted = self._noted[len(noted) :]


async def guarded(awaitable: Awaitable[object]) -> None:
    """Await a call of the driver; where it is cancelled or raises a bare Exception, the connection is lost."""
    try:
        await awaitable
    except Exception as error:
        if type(error) is Exception:
            raise ConnectionError("the connection was lost") from error
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionError("the connection was lost") from None
