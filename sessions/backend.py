"""What runs workers and keeps the records: processes of this machine (`machine.py`) or pods; the allocator calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sessions.records import Capacity, Session, Worker

T = TypeVar("T")


class View:
    """All sessions and workers as last heard of, without asking anybody."""

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
        """Take over a new or changed record."""
        if isinstance(item, Session):
            self.sessions[item.id] = item
        else:
            self.workers[item.name] = item
        self.touch()

    def drop_session(self, session_id: str) -> None:
        """Forget a session."""
        self.sessions.pop(session_id, None)
        self.touch()

    def drop_worker(self, name: str) -> None:
        """Forget a worker."""
        self.workers.pop(name, None)
        self.touch()

    def clear(self) -> None:
        """Forget all, before all is listed again."""
        self.sessions.clear()
        self.workers.clear()
        self.touch()

    def touch(self) -> None:
        """Wake all who wait for a change."""
        self.version += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for the next change; whether there was one in time."""
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
        """Wait until `what` returns something; None if it has not in time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while (found := what()) is None:
            if loop.time() >= end or not await self.changed(end - loop.time()):
                return what()
        return found


class Backend(Protocol):
    """A cluster. Every method but `view` may raise `BackendError`.

    All state of sessions is here, so that any number of receive servers may be killed and started again.
    """

    @property
    def view(self) -> View:
        """What is watched; at least as new as the last answer of any method."""

    async def capacity(self) -> Capacity:
        """What there is and what is taken."""

    async def create(self, session: Session) -> Session:
        """Record a session.

        Raises:
            ExistsError: its id is taken.
        """

    async def replace(self, session: Session) -> Session:
        """Record it as changed, if nobody has changed it since `session.version`.

        Raises:
            ConflictError: somebody has, or it is gone.
        """

    async def delete(self, session_id: str) -> None:
        """Forget a session and end its worker; nothing if there is none."""

    async def claim(self, worker: Worker, session_id: str) -> Worker:
        """Take a worker out of the warm pool, which is filled up again; it never goes to two sessions.

        Raises:
            ConflictError: somebody else has it, it has changed since `worker.version`, or it is gone.
        """

    async def start(self, session: Session) -> Worker:
        """Start a worker for a session; asked again for the same, return the same.

        Raises:
            NoRoomError: it does not fit.
        """

    async def stop(self, worker: str) -> None:
        """End a worker; nothing if there is none."""

    async def refresh(self, session_id: str, worker: str) -> None:
        """Bring the view up to date on these two, before one is ended for what the view says of the other.

        Where sessions and workers are heard of by two watches, one may be behind the other.
        """
