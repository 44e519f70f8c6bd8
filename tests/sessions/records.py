"""A cluster's records in memory, with its rules (versions, conflicts, watches that lag), to try many orders."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from datetime import UTC, datetime
from typing import TypeVar

from msgspec.structs import replace

from sessions.backend import View
from sessions.catalogue import resolve
from sessions.records import Capacity, ConflictError, ExistsError, NoRoomError, Session, Worker

Record = Session | Worker
T = TypeVar("T", Session, Worker)
Change = tuple[str, Record | None, int]
"""Key, the new state (None: deleted) and its version."""


def idle_worker(name: str) -> Worker:
    now = datetime.now(UTC)
    return Worker(
        name=name, kind="scalar", model=resolve("scalar"), node="a", address="", started_at=now, state="ready"
    )


class Turn:
    """Awaited where a call takes time: whatever else runs may go first."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Records:
    """What the cluster knows. A worker that had a session never has another, or `put` raises."""

    def __init__(self, workers: int, room: int = 0) -> None:
        self.sessions: dict[str, Session] = {}
        self.workers: dict[str, Worker] = {}
        self.room = room
        """How many workers may be started beside the pool's."""
        self.backends: list[RecordsBackend] = []
        self._version = 0
        self._served: dict[str, str] = {}
        for n in range(workers):
            self.put(idle_worker(f"w{n}"))

    def put(self, item: T) -> T:
        self._version += 1
        item = replace(item, version=self._version)
        if isinstance(item, Session):
            self.sessions[item.id] = item
            self._tell(item.id, item)
        else:
            if item.session:
                assert self._served.setdefault(item.name, item.session) == item.session, "a worker got two sessions"
            self.workers[item.name] = item
            self._tell(item.name, item)
        return item

    def drop(self, key: str) -> None:
        self._version += 1
        if self.sessions.pop(key, None) or self.workers.pop(key, None):
            self._tell(key, None)

    def _tell(self, key: str, item: Record | None) -> None:
        for backend in self.backends:
            backend.hear((key, item, self._version), is_session=not key.startswith("w"))


class RecordsBackend:
    """A receive server's `Backend`: writes are decided by the records, while its view lags behind."""

    def __init__(self, records: Records, *, lags: bool) -> None:
        self.view = View()
        self._records, self._lags = records, lags
        self._versions: dict[str, int] = {}
        self._unread: dict[bool, deque[Change]] = {True: deque(), False: deque()}
        records.backends.append(self)
        for item in (*records.sessions.values(), *records.workers.values()):
            self._apply((item.id if isinstance(item, Session) else item.name, item, item.version))

    def hear(self, change: Change, *, is_session: bool) -> None:
        if self._lags:
            self._unread[is_session].append(change)
        else:
            self._apply(change)

    def deliver(self, *, sessions: bool) -> None:
        """Let one of the two watches deliver its next change."""
        if self._unread[sessions]:
            self._apply(self._unread[sessions].popleft())

    def deliver_all(self) -> None:
        for unread in self._unread.values():
            while unread:
                self._apply(unread.popleft())

    async def capacity(self) -> Capacity:
        return Capacity(node="a", cores=1, memory_mb=1, used_cores=0, used_memory_mb=0)

    async def create(self, session: Session) -> Session:
        await Turn()
        if session.id in self._records.sessions:
            self._read(session.id)
            raise ExistsError(session.id)
        return await self._written(replace(session, order=len(self._versions) + self._records._version))

    async def replace(self, session: Session) -> Session:
        await Turn()
        known = self._records.sessions.get(session.id)
        if known is None or known.version != session.version:
            self._read(session.id)
            raise ConflictError(session.id)
        return await self._written(session)

    async def delete(self, session_id: str) -> None:
        await Turn()
        self._records.drop(session_id)
        for name in [w.name for w in self._records.workers.values() if w.session == session_id]:
            self._records.drop(name)
        await Turn()

    async def claim(self, worker: Worker, session_id: str) -> Worker:
        await Turn()
        known = self._records.workers.get(worker.name)
        if known is None or known.session or known.version != worker.version:
            self._read(worker.name)
            raise ConflictError(worker.name)
        return await self._written(replace(known, session=session_id))

    async def start(self, session: Session) -> Worker:
        await Turn()
        name = f"w-{session.id}-{session.restarts}"
        if (known := self._records.workers.get(name)) is not None:
            return known
        if self._records.room < 1:
            raise NoRoomError(name)
        self._records.room -= 1
        return await self._written(replace(idle_worker(name), session=session.id))

    async def stop(self, worker: str) -> None:
        await Turn()
        self._records.drop(worker)
        await Turn()

    async def drain(self, is_drained: bool) -> None:
        """Not one machine."""

    async def refresh(self, session_id: str, worker: str) -> None:
        await Turn()
        self._read(session_id)
        self._read(worker)

    async def _written(self, item: T) -> T:
        made = self._records.put(item)
        # The caller may be killed before it has the answer.
        await Turn()
        self._apply((made.id if isinstance(made, Session) else made.name, made, made.version))
        return made

    def _read(self, key: str) -> None:
        item = self._records.sessions.get(key) or self._records.workers.get(key)
        self._apply((key, item, self._records._version if item is None else item.version))

    def _apply(self, change: Change) -> None:
        key, item, version = change
        if self._versions.get(key, 0) >= version:
            return
        self._versions[key] = version
        if item is not None:
            self.view.put(item)
        elif key in self.view.sessions:
            self.view.drop_session(key)
        else:
            self.view.drop_worker(key)
