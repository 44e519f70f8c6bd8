"""The protocol that runs workers and keeps records: processes of this machine (`machine.py`) or pods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sessions.records import Capacity, Session, Worker

T = TypeVar("T")


class View:
    """The last known sessions and workers, without a request."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.workers: dict[str, Worker] = {}
        self.version = 0
        """Counts changes."""
        self._waiting: set[asyncio.Future[None]] = set()

    def worker_of(self, session: Session) -> Worker | None:
        """Its worker, if each of the two names the other."""
        worker = self.workers.get(session.worker)
        return worker if worker is not None and worker.session == session.id else None

    def put(self, item: Session | Worker) -> None:
        """Store a new or changed record."""
        if isinstance(item, Session):
            self.sessions[item.id] = item
        else:
            self.workers[item.name] = item
        self.touch()

    def drop_session(self, session_id: str) -> None:
        """Remove a session."""
        self.sessions.pop(session_id, None)
        self.touch()

    def drop_worker(self, name: str) -> None:
        """Remove a worker."""
        self.workers.pop(name, None)
        self.touch()

    def clear(self) -> None:
        """Remove everything, before it is listed again."""
        self.sessions.clear()
        self.workers.clear()
        self.touch()

    def touch(self) -> None:
        """Wake everything that waits for a change."""
        self.version += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for the next change; returns whether there was one in time."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(timeout_s):
                await waiting
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiting)
        return True

    async def until(self, what: Callable[[], T | None], timeout_s: float) -> T | None:
        """Wait until `what` returns a value; None if it does not in time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while (found := what()) is None:
            if loop.time() >= end or not await self.changed(end - loop.time()):
                return what()
        return found


class Backend(Protocol):
    """A cluster. Every method except `view` may raise `BackendError`.

    It has all state of sessions, so that any number of receive servers can be killed and restarted.
    """

    @property
    def view(self) -> View:
        """The watched state; at least as new as the last answer of any method."""

    async def capacity(self) -> Capacity:
        """Total and used capacity."""

    async def create(self, session: Session) -> Session:
        """Record a session.

        Raises:
            ExistsError: its id is taken.
        """

    async def replace(self, session: Session) -> Session:
        """Store a changed session, if it has not changed since `session.version`.

        Raises:
            ConflictError: it has changed, or no longer exists.
        """

    async def delete(self, session_id: str) -> None:
        """Delete a session and end its worker. Idempotent."""

    async def claim(self, worker: Worker, session_id: str) -> Worker:
        """Take a worker out of the warm pool, which is refilled; a worker never goes to two sessions.

        Raises:
            ConflictError: it is taken, has changed since `worker.version`, or no longer exists.
        """

    async def start(self, session: Session) -> Worker:
        """Start a worker for a session; a repeated call returns the same worker.

        Raises:
            NoRoomError: it does not fit.
        """

    async def stop(self, worker: str) -> None:
        """End a worker. Idempotent."""

    async def drain(self, is_drained: bool) -> None:
        """Have the sessions of this machine go on elsewhere and start no workers, or undo that.

        Raises:
            BackendError: it is not one machine.
        """

    async def refresh(self, session_id: str, worker: str) -> None:
        """Update the view of these two, before one is ended because of the view's state of the other.

        If sessions and workers come from two watches, one may be behind the other.
        """
