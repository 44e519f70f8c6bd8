"""Allocates workers: opens sessions within quota, serves the line in order, and ends sessions; the endpoints call it.

A claim is two writes: the session names its worker, then the worker its session. Each is refused if another allocator
was faster, both are needed before a client may connect, and the keeper completes or undoes claims that a crash left
half done. So several allocators may share a cluster: the first write decides between two allocators for one session,
the second between two sessions for one worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta

import structlog
from msgspec.structs import replace

from sessions import quota
from sessions.ask import Ask
from sessions.backend import Backend
from sessions.line import Line
from sessions.metrics import opened_total, start_seconds
from sessions.problems import ProblemError, not_found
from sessions.records import BackendError, Capacity, ConflictError, ExistsError, NoRoomError, Session, Worker
from sessions.settings import Settings
from sessions.tokens import Tokens

log = structlog.get_logger()


class Allocator:
    """Manages the sessions of one cluster for one receive server."""

    def __init__(self, backend: Backend, settings: Settings, tokens: Tokens) -> None:
        self.backend = backend
        self.tokens = tokens
        self._settings = settings
        self._no_room: set[str] = set()
        """Waiting sessions for which there was no room at the last try."""
        self._kicked = asyncio.Event()
        self._line = Line()

    async def open(self, ask: Ask) -> Session:
        """Record a session, and find a worker for it.

        Returns:
            The session, once it has a worker or must wait.

        Raises:
            ProblemError: the quota is full, the hardware does not exist, or the key was used for another request.
            BackendError: the cluster does not answer.
        """
        tokens, view = self.tokens, self.backend.view
        key = ask.idempotency_key
        id_ = tokens.id_of(ask.owner, key) if key else tokens.new_id()
        if (known := view.sessions.get(id_)) is None:
            quota.check(ask.owner, ask.client, view, self._settings)
            now = _now()
            session = Session(
                id=id_, kind=ask.kind, model=ask.model, owner=ask.owner, client=ask.client, created_at=now,
                expires_at=now + timedelta(seconds=self._ttl_s(ask.ttl_s)), asked_at=now, request_digest=ask.digest,
                gpu=ask.gpu, node_class=ask.node_class, legacy_address=ask.legacy_address, home_base=ask.home_base,
                via=ask.via,
            )  # fmt: skip
            try:
                created = await self.backend.create(session)
            except ExistsError:
                pass
            else:
                await self._stay_within_quota(ask, created)
                opened_total.labels(ask.kind).inc()
                return await self._await_start(created)
            known = view.sessions.get(id_)
        if known is None:
            raise not_found(id_)
        if known.request_digest != ask.digest:
            raise ProblemError(
                422, "idempotency_key_reused", f"Idempotency-Key {key[:80]!r} was used for another request",
                "use a new key for each new request",
            )  # fmt: skip
        return await self._await_start(known)

    async def end(self, session_id: str) -> None:
        """End a session and its worker."""
        await self.backend.delete(session_id)
        self._no_room.discard(session_id)
        self._kicked.set()

    async def extend(self, session: Session, ttl_s: float) -> Session:
        """Extend a session to this long from now.

        Raises:
            ConflictError: it no longer exists.
        """
        return await self.change(session, expires_at=_now() + timedelta(seconds=self._ttl_s(ttl_s)))

    async def keep_place(self, session: Session) -> Session:
        """Record that the client still waits, no more often than needed."""
        if (_now() - session.asked_at).total_seconds() < self._settings.sessions_line_s / 10:
            return session
        return await self.change(session, asked_at=_now())

    async def change(self, session: Session, **changes: object) -> Session:
        """Change a record, keeping concurrent changes of others.

        Raises:
            ConflictError: it no longer exists.
        """
        while True:
            try:
                return await self.backend.replace(replace(session, **changes))
            except ConflictError:
                current = self.backend.view.sessions.get(session.id)
                if current is None:
                    raise
                session = current

    def is_ready(self, session: Session) -> bool:
        """Whether its client can connect now."""
        worker = self.backend.view.worker_of(session)
        return bool(session.upstream) or (worker is not None and worker.state == "ready")

    def has_no_room(self, session: Session) -> bool:
        """Whether it waits, and there was no room for a worker at the last try."""
        return session.id in self._no_room

    def line(self) -> list[Session]:
        """Sessions without a worker, in line order."""
        return self._line.read(self.backend.view).waiting

    def place(self, session: Session) -> tuple[int, float]:
        """The place in line, from 1, and the maximum seconds until it has a worker."""
        line, settings = self._line.read(self.backend.view), self._settings
        place = line.places.get(session.id, 1)
        return place, line.estimate_s(place, _now(), settings.sessions_wait_s, settings.sessions_ttl_max_s)

    async def ready(self, session_id: str, wait_s: float) -> Session:
        """Wait until the client can connect, at most `wait_s`; it may still not be ready then.

        Raises:
            ProblemError: 404: it has ended.
        """
        view = self.backend.view

        def settled() -> Session | str | None:
            session = view.sessions.get(session_id)
            return "gone" if session is None else session if self.is_ready(session) else None

        found = await view.until(settled, wait_s)
        if found == "gone":
            raise not_found(session_id)
        return found if isinstance(found, Session) else view.sessions[session_id]

    async def dispatch(self) -> None:
        """Give workers to waiting sessions in order, for as long as the server runs."""
        while True:
            try:
                await self._serve_line()
            except BackendError as error:
                log.warning("line_not_served", reason=str(error))
            if not self._kicked.is_set():
                await self.backend.view.changed(1.0)
            self._kicked.clear()

    async def _serve_line(self) -> None:
        has_needs = any(session.gpu or session.node_class for session in self.line())
        capacity = await self.backend.capacity() if has_needs else None
        full: set[str] = set()
        for session in self.line():
            try:
                has_worker = session.kind not in full and await self._find_worker(session, capacity)
            except BackendError as error:
                # The others in line may not need what fails, such as a Deployment of this kind.
                log.warning("session_not_served", session=session.id, kind=session.kind, reason=str(error))
                full.add(session.kind)
                continue
            if has_worker:
                self._no_room.discard(session.id)
                continue
            full.add(session.kind)
            if session.id not in self._no_room:
                self._no_room.add(session.id)
                self.backend.view.touch()
        self._no_room &= self.backend.view.sessions.keys()

    async def _find_worker(self, session: Session, capacity: Capacity | None) -> bool:
        """Find a worker; returns whether there was one, or none is needed any more."""
        if capacity is not None and not capacity.has_hardware(session):
            return False
        if await self.claim_idle(session):
            return True
        session = self.backend.view.sessions.get(session.id, session)
        try:
            worker = await self.backend.start(session)
        except NoRoomError:
            return False
        await self.bind(session, worker)
        return True

    async def claim_idle(self, session: Session) -> bool:
        """Give it a worker of the warm pool; returns whether it needs no other."""
        tried: set[str] = set()
        while (worker := self._pick_idle(session, tried)) is not None:
            try:
                session = await self.backend.replace(replace(session, worker=worker.name, bound_at=_now()))
            except ConflictError:
                current = self.backend.view.sessions.get(session.id)
                if current is None or current.worker or current.upstream:
                    return True
                session = current
                continue
            try:
                await self.backend.claim(worker, session.id)
            except ConflictError:
                tried.add(worker.name)
                continue
            return True
        if session.worker:
            await self.release(session)
        return False

    def _pick_idle(self, session: Session, tried: set[str]) -> Worker | None:
        idle = [
            w for w in self.backend.view.workers.values()
            if not w.session and (w.kind, w.model) == (session.kind, session.model) and w.name not in tried
            and (w.has_gpu or not session.gpu) and (not session.node_class or session.node_class in w.classes)
        ]  # fmt: skip
        ready = [w for w in idle if w.state == "ready"]
        # At random, so that receive servers rarely choose the same one.
        return random.choice(ready or idle) if idle else None

    async def come_home(self, session: Session) -> None:
        """Note that a session is served by its worker here, and by no upstream server any more."""
        with contextlib.suppress(ConflictError):
            await self.change(session, upstream="", upstream_id="", upstream_url="", home_base="", bound_at=_now())

    async def release(self, session: Session, restarts: int = 0) -> None:
        """Return it to its place in line, unless it was changed meanwhile."""
        # Its client could not ask for its place while it had a worker.
        freed = replace(session, worker="", bound_at=None, restarts=session.restarts + restarts, asked_at=_now())
        with contextlib.suppress(ConflictError):
            await self.backend.replace(freed)

    async def bind(self, session: Session, worker: Worker) -> None:
        """Assign the worker that was started for a session; if the session has one already, end the new one."""
        while True:
            if session.worker == worker.name:
                return
            if not session.worker and not session.upstream:
                try:
                    await self.backend.replace(replace(session, worker=worker.name, bound_at=_now()))
                except ConflictError:
                    current = self.backend.view.sessions.get(session.id)
                    if current is not None:
                        session = current
                        continue
                else:
                    return
            await self.backend.stop(worker.name)
            return

    async def _await_start(self, session: Session) -> Session:
        """Wait until it is ready, or will certainly not be in time."""
        view, loop = self.backend.view, asyncio.get_running_loop()
        began, wait_s = loop.time(), self._settings.sessions_wait_s
        self._kicked.set()
        view.touch()

        def settled() -> Session | None:
            current = view.sessions.get(session.id)
            if current is None or self.is_ready(current):
                return current or session
            if session.id in self._no_room and self.place(current)[1] > wait_s:
                return current
            return None

        found = await view.until(settled, wait_s) or view.sessions.get(session.id)
        if found is None or session.id not in view.sessions:
            raise not_found(session.id)
        if self.is_ready(found):
            start_seconds.labels(session.kind).observe(loop.time() - began)
        return found

    async def _stay_within_quota(self, ask: Ask, created: Session) -> None:
        """Requests at the same time did not see each other: a record beyond the quota is removed again."""
        try:
            quota.check(ask.owner, ask.client, self.backend.view, self._settings, created)
        except ProblemError:
            await self.backend.delete(created.id)
            raise

    def _ttl_s(self, wanted_s: float) -> float:
        return min(wanted_s, self._settings.sessions_ttl_max_s)


def _now() -> datetime:
    return datetime.now(UTC)
