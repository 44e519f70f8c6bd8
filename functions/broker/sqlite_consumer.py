"""The receiving side of the SQLite broker: a consumer, and the deliveries it hands out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from functions.broker import sqlite_sql as sql
from functions.broker.sqlite_thread import SqliteThread, Wait, settle
from functions.event import Message


@dataclass(slots=True)
class SqliteDelivery:
    """One message that this consumer holds, leased until it is settled."""

    thread: SqliteThread
    consumer: SqliteConsumer
    taken: sql.LeasedMessage

    @property
    def queue(self) -> str:
        """The queue it was taken from."""
        return self.taken.queue

    @property
    def message(self) -> Message:
        """The message itself."""
        return self.taken.message

    @property
    def attempt(self) -> int:
        """Counts from 1: this delivery and the failed ones before it."""
        return self.taken.attempt

    @property
    def deaths(self) -> int:
        """How many workers died while they held this message."""
        return self.taken.deaths

    async def ack(self) -> None:
        """Remove it from the queue."""
        await self._answer(sql.ack)

    async def retry(self, reason: str, after_s: float) -> None:
        """Deliver it again after `after_s` seconds, or keep it as a dead letter at the delivery limit."""
        await self._answer(lambda db, id_: sql.retry(db, id_, reason, after_s))

    async def reject(self, reason: str) -> None:
        """Move it to the dead letters with the reason."""
        await self._answer(lambda db, id_: sql.bury(db, id_, reason))

    async def release(self) -> None:
        """Give it back to the queue, uncounted."""
        await self._answer(sql.release)

    async def _answer(self, action: Callable[[sqlite3.Connection, int], None]) -> None:
        id_, owner = self.taken.id, self.thread.owner

        def answer(db: sqlite3.Connection) -> None:
            # If the lease was lost (this process slept through it) the message is another worker's now.
            owned = db.execute("SELECT 1 FROM messages WHERE id = ? AND lease_by = ?", (id_, owner)).fetchone()
            self.thread.stop_renewing([id_])
            if owned:
                action(db, id_)

        await self.thread.do(answer)
        self.consumer.unanswered.pop(id_, None)


@dataclass(slots=True)
class SqliteConsumer:
    """Consumes from some queues by leases; `buffer` holds messages that are leased but not handed out yet."""

    thread: SqliteThread
    queues: tuple[str, ...]
    prefetch: int
    buffer: list[sql.LeasedMessage] = field(default_factory=list)
    unanswered: dict[int, SqliteDelivery] = field(default_factory=dict)
    wait: Wait | None = None

    def get_nowait(self) -> SqliteDelivery | None:
        """A buffered delivery, or None."""
        return self.unanswered[self.buffer.pop(0).id] if self.buffer else None

    async def get(self, timeout_s: float | None = None) -> SqliteDelivery | None:
        """The next delivery; None after `timeout_s` seconds without one.

        Raises:
            BrokerError: the file cannot be read or written.
        """
        if not self.buffer and not await self._fill(timeout_s):
            return None
        return self.unanswered[self.buffer.pop(0).id]

    async def resize(self, prefetch: int) -> None:
        """Hold at most `prefetch` messages from now on; the buffer's surplus goes back to its queue."""
        self.prefetch = prefetch
        surplus, self.buffer = self.buffer[prefetch:], self.buffer[:prefetch]
        for taken in surplus:
            await self.unanswered[taken.id].release()

    async def leave(self) -> None:
        """Give back what is unsettled, and stop consuming."""
        # A cancelled `get` may still be waiting; what it receives before it is withdrawn is released below.
        await self.thread.note(self._withdraw)
        try:
            for delivery in list(self.unanswered.values()):
                await delivery.release()
        finally:
            # Leases that could not be given back are no longer renewed, so they expire.
            await self.thread.note(lambda: self.thread.stop_renewing(self.unanswered))

    async def _fill(self, timeout_s: float | None) -> bool:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        room = max(1, self.prefetch - len(self.unanswered))

        def accept(taken: list[sql.LeasedMessage]) -> None:
            for t in taken:
                self.unanswered[t.id] = SqliteDelivery(self.thread, self, t)
            self.buffer += taken
            settle(future, None, None)

        self.wait = Wait(self.queues, room, loop, future, accept)
        await self.thread.note(self._enlist)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(future)
        except TimeoutError:
            # Withdraw on the broker's thread: a delivery that crossed with the timeout is then in the buffer.
            await self.thread.note(self._withdraw)
        return bool(self.buffer)

    def _enlist(self) -> None:
        if self.wait is not None:
            self.thread.enlist(self.wait)

    def _withdraw(self) -> None:
        self.thread.withdraw(self.wait)
        self.wait = None
