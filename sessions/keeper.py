"""Checks sessions once a second: ends expired ones, replaces crashed workers, completes half-done claims.

Every receive server runs one; all of them may do the same action.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import structlog

from sessions.allocator import Allocator
from sessions.catalogue import KINDS
from sessions.dial import Status, read_status
from sessions.evacuation import Evacuation
from sessions.metrics import ended_total, idle_workers, leaked_workers, measure_messages, sessions_now
from sessions.mover import Mover
from sessions.offload import Upstreams
from sessions.records import BackendError, ConflictError, Session, Worker
from sessions.settings import Settings

log = structlog.get_logger()

_PERIOD_S = 1.0
_STATUS_PERIOD_S = 5.0
_SILENT_MAX = 3
"""A worker that has not answered this often in a row counts as crashed."""
_RESTARTS_MAX = 3
_CLAIM_TIME = timedelta(seconds=3)
"""A claim that is incomplete for longer was left by a receive server that crashed."""


def is_abandoned(session: Session, status: Status | None, now: datetime, idle_s: float) -> bool:
    """Whether a client has had a worker for longer than `idle_s` and has not connected to it.

    A container that crashed and was started again in its pod knows no session either, but has not waited for so long.
    The client of a session that is still on an upstream server connects here once it is moved.
    """
    if status is None or status.session or session.upstream or session.bound_at is None:
        return False
    return now - session.bound_at > timedelta(seconds=idle_s) and status.idle_s > idle_s


class Keeper:
    """One loop over all sessions and workers."""

    def __init__(self, allocator: Allocator, settings: Settings, upstreams: Upstreams) -> None:
        self.statuses: dict[str, Status] = {}
        """The last status of each session's worker, by session."""
        self._allocator = allocator
        self._backend = allocator.backend
        self._settings = settings
        self._upstreams = upstreams
        self._mover = Mover(allocator.backend.view, allocator.tokens, settings.sessions_url.rstrip("/"))
        self._evacuation = Evacuation(allocator, upstreams)
        self._silent: Counter[str] = Counter()
        self._asked_at = 0.0
        self._began_at = datetime.now(UTC)

    async def run(self) -> None:
        """Check them for as long as the server runs."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                if loop.time() - self._asked_at >= _STATUS_PERIOD_S:
                    self._asked_at = loop.time()
                    await self._ask_all()
                    await self._check_upstreams()
                await self.look()
            except BackendError as error:
                log.warning("sessions_not_kept", reason=str(error))
            await asyncio.sleep(_PERIOD_S)

    async def look(self) -> None:
        """Check all of them once."""
        view = self._backend.view
        for session in list(view.sessions.values()):
            if reason := self._why_over(session):
                log.info("session_ended", session=session.id, reason=reason)
                ended_total.labels(reason).inc()
                await self._allocator.end(session.id)
            elif session.worker:
                await self._check_worker(session)
        self._mover.look()
        self._evacuation.look()
        leaked = 0
        for worker in list(view.workers.values()):
            leaked += await self._check_owner(worker)
        leaked_workers.set(leaked)
        self._measure()

    def _why_over(self, session: Session) -> str:
        """The reason for which a session ends now; empty if it does not."""
        now, settings = datetime.now(UTC), self._settings
        if now >= session.expires_at:
            return "expired"
        if not session.worker and not session.upstream:
            return "left_line" if now - session.asked_at > timedelta(seconds=settings.sessions_line_s) else ""
        worker = self._backend.view.worker_of(session)
        if worker is not None and worker.state == "ended":
            return "idle"
        if session.restarts >= _RESTARTS_MAX and (worker is None or worker.state == "failed"):
            return "crashed"
        if is_abandoned(session, self.statuses.get(session.id), now, settings.sessions_idle_s):
            return "never_connected"
        return ""

    async def _check_worker(self, session: Session) -> None:
        """Complete a half-done claim; a session whose worker has crashed returns to its place in line."""
        named = self._backend.view.workers.get(session.worker)
        if named is not None and named.session != session.id:
            if datetime.now(UTC) - (session.bound_at or session.created_at) < _CLAIM_TIME:
                return
            try:
                await self._backend.claim(named, session.id)
            except ConflictError:
                await self._allocator.release(session)
            return
        if named is not None and named.state not in ("failed", "leaving") and self._silent[named.name] < _SILENT_MAX:
            return
        await self._backend.refresh(session.id, session.worker)
        if (
            self._backend.view.sessions.get(session.id) != session
            or self._backend.view.workers.get(session.worker) != named
        ):
            return
        if named is not None and named.state == "leaving":
            # It still has the connection and answers requests until the next one is ready; see mover.py.
            log.info("session_moves", session=session.id, worker=session.worker, node=named.node)
            await self._allocator.release(session, restarts=1)
            return
        log.warning("session_worker_lost", session=session.id, worker=session.worker, restarts=session.restarts)
        await self._allocator.release(session, restarts=1)
        self._silent.pop(session.worker, None)
        self.statuses.pop(session.id, None)
        await self._backend.stop(session.worker)

    async def _check_owner(self, worker: Worker) -> bool:
        """Complete a half-done claim, or end a worker without a session; returns whether it was such a worker."""
        if not worker.session or worker.state in ("failed", "leaving"):
            return False
        session = self._backend.view.sessions.get(worker.session)
        if session is not None and session.worker == worker.name:
            return False
        if session is not None and not session.worker:
            await self._allocator.bind(session, worker)
            return False
        await self._backend.refresh(worker.session, worker.name)
        session = self._backend.view.sessions.get(worker.session)
        if session is not None and session.worker in ("", worker.name):
            return False
        await self._backend.stop(worker.name)
        # A worker that is just ending still exists; only one that stays is a leak.
        return (datetime.now(UTC) - worker.started_at).total_seconds() > 10 and session is None

    async def _ask_all(self) -> None:
        view = self._backend.view
        bound = {s.id: w for s in view.sessions.values() if (w := view.worker_of(s)) and w.state == "ready"}
        answers = await asyncio.gather(*(self._ask(worker) for worker in bound.values()))
        statuses = {id_: status for id_, status in zip(bound, answers, strict=True) if status is not None}
        measure_messages(view.sessions, self.statuses, statuses, self._began_at)
        self.statuses = statuses
        self._silent = Counter({name: n for name, n in self._silent.items() if name in view.workers})

    async def _check_upstreams(self) -> None:
        """Remove sessions that have ended on their upstream server."""
        away = [s for s in self._backend.view.sessions.values() if s.upstream]
        asked = (self._upstreams.is_there(s.upstream, s.upstream_id, s.upstream_token) for s in away)
        for session, is_there in zip(away, await asyncio.gather(*asked), strict=True):
            if not is_there and session.worker:
                await self._allocator.come_home(session)
            elif not is_there:
                ended_total.labels("ended_upstream").inc()
                await self._allocator.end(session.id)

    async def _ask(self, worker: Worker) -> Status | None:
        try:
            status = await read_status(worker.address)
        except OSError:
            self._silent[worker.name] += 1
            return None
        del self._silent[worker.name]
        return status

    def _measure(self) -> None:
        view, allocator = self._backend.view, self._allocator
        states = Counter(
            (s.kind, "offloaded" if s.upstream else "ready" if allocator.is_ready(s) else "waiting")
            for s in view.sessions.values()
        )
        idle = Counter(w.kind for w in view.workers.values() if not w.session and w.state == "ready")
        for kind in KINDS:
            idle_workers.labels(kind).set(idle[kind])
            for state in ("ready", "waiting", "offloaded"):
                sessions_now.labels(kind, state).set(states[kind, state])
