"""Brings sessions home from upstream servers, once a worker of their kind idles here and nobody waits for one.

A session that comes home has a worker here and an upstream server for a moment: first the worker is claimed, then the
upstream server has its worker answer what it has, its results are given to the worker here, the client is sent here
with its resume token, and the record forgets the upstream server.
Whatever crashes in between, the next look goes on from what is recorded. Only idle workers are used, never new ones, so
that on a full cluster a session that is well served elsewhere takes no room from those that are not.
"""

from __future__ import annotations

import asyncio

import structlog

from sessions.allocator import Allocator
from sessions.dial import give_results
from sessions.offload import Upstreams
from sessions.problems import ProblemError
from sessions.records import BackendError, Session

log = structlog.get_logger()

_PERIOD_S = 2.0


class Homecoming:
    """One loop over all sessions that were passed on and may come home."""

    def __init__(self, allocator: Allocator, upstreams: Upstreams) -> None:
        self._allocator = allocator
        self._upstreams = upstreams

    async def run(self) -> None:
        """Look after them for as long as the server lives."""
        while True:
            try:
                await self.look()
            except BackendError as error:
                log.warning("sessions_not_brought_home", reason=str(error))
            await asyncio.sleep(_PERIOD_S)

    async def look(self) -> None:
        """Once over all of them, in the order in which they came."""
        view = self._allocator.backend.view
        away = [s for s in view.sessions.values() if s.upstream and s.home_base]
        for session in sorted(away, key=lambda s: s.order):
            if not session.worker and not self._allocator.line():
                await self._allocator.claim_idle(session)
            current = view.sessions.get(session.id, session)
            worker = view.worker_of(current)
            if current.upstream and worker is not None and worker.state == "ready":
                await self._move(current)

    async def _move(self, session: Session) -> None:
        url = f"{session.home_base}/s/{session.id}"
        try:
            has_results = await self._bring_results(session)
            token = self._allocator.tokens.token_of(session.id)
            await self._upstreams.move(session, url, token, has_results=has_results)
        except ProblemError as problem:
            # Its worker here stays claimed: the client is most likely about to connect again.
            log.info("session_not_moved", session=session.id, reason=problem.problem.detail)
            return
        log.info("session_came_home", session=session.id, upstream=session.upstream, with_results=has_results)
        await self._allocator.come_home(session)

    async def _bring_results(self, session: Session) -> bool:
        """Give the worker here what its client may not have read; returns whether it has that."""
        worker = self._allocator.backend.view.worker_of(session)
        kept = await self._upstreams.take_results(session) if worker is not None else None
        if worker is None or kept is None:
            return False
        try:
            await give_results(worker.address, session.id, kept)
        except OSError as error:
            log.warning("results_not_handed_over", session=session.id, reason=str(error))
            return False
        return True
