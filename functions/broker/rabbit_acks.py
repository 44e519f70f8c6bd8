"""What a consumer answered on one channel, written to RabbitMQ in groups; each consumer has one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from aiormq.abc import AbstractChannel

from functions.broker.base import BrokerError

FAILURES = (AMQPError, ConnectionError, ChannelInvalidStateError, asyncio.TimeoutError, OSError, RuntimeError)
"""What a lost or refused connection looks like, whichever layer notices it first."""

_GROUP_S = 0.005
"""A handler that takes longer than this waits for each of its answers to be written."""
_PAUSE_S = 0.001
"""How long the answers of a quicker one are gathered."""


def explain(error: BaseException) -> str:
    """What a broker or a driver says of a failure, on one line.

    Of a refused virtual host the driver keeps only that another frame came than it expected, not what that frame says.
    """
    said = " ".join(str(getattr(part, "reply_text", part)) for part in error.args if not isinstance(part, int))
    if "Connection.OpenOk" in said:
        return "the virtual host is not there, or this user has no rights in it: check the path of the URL"
    return " ".join(said.split()) or type(error).__name__


class AckBatcher:
    """Acknowledgements of the messages of one channel: each is written once, in order, together with its neighbours.

    A message's tag is its number on the channel, 1 for the first.
    """

    def __init__(self, channel: AbstractChannel, lose: Callable[[str], None]) -> None:
        """Write to this channel; `lose` is told why, once it is known to be gone."""
        self._channel = channel
        self._lose = lose
        self.most = 1
        """So many are not gathered any longer: the broker delivers no more before it hears of them."""
        self._noted: list[tuple[int, bool]] = []
        self._ahead: set[int] = set()
        """Answered tags, behind which an older one is still open."""
        self._closed_to = 0
        """The newest tag up to which all are answered."""
        self._written_at = time.monotonic()
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure = ""

    @property
    def unwritten(self) -> int:
        """How many answers the broker has not been told."""
        return len(self._noted)

    async def note(self, tag: int, *, requeue: bool = False) -> None:
        """Acknowledge, or requeue; returns once that is written, or at once if a group was written a moment ago.

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
            # Whoever waits may be cancelled; what is being written may not, or it would be half written.
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
        """The one writer: two at once could overtake each other, and RabbitMQ refuses a tag that was answered."""
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
        # "All up to this tag" says it for a whole run of them, but never across one that is still open, and never
        # without a new one in it: RabbitMQ closes the channel over an answer to nothing.
        run = [tag for tag in done if tag <= self._closed_to]
        for tag in (tag for tag in done if tag > self._closed_to):
            await self._channel.basic_ack(tag, wait=not run)
        if run:
            await self._channel.basic_ack(max(run), multiple=True)
        self._noted = self._noted[len(noted) :]


async def guarded(awaitable: Awaitable[object]) -> None:
    """Wait for it; where the driver cancels it, or raises a bare Exception, the connection is gone: say so."""
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
