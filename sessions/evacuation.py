"""Brings sessions that have lost their worker to upstream servers, where there is no room here; the keeper runs it.

So a whole machine, or a cluster whose remaining nodes are full, can be stopped: the worker that ends goes on answering
until an upstream server has another one ready, its results are given to that one, and its client is sent there with
its resume token. Every receive server may do the same at the same time.
"""

from __future__ import annotations

import asyncio

import structlog

from sessions.allocator import Allocator
from sessions.dial import announce_move, take_results
from sessions.metrics import moved_total
from sessions.offering import body_of, offer
from sessions.offload import Upstreams
from sessions.problems import ProblemError
from sessions.records import BackendError, Session, Worker

log = structlog.get_logger()


class Evacuation:
    """Offers each such session, and moves its client once it is taken."""

    def __init__(self, allocator: Allocator, upstreams: Upstreams) -> None:
        self._allocator = allocator
        self._upstreams = upstreams
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By session, while something is done for it."""
        self._moved: set[str] = set()
        """Workers whose clients were sent elsewhere, while they still exist."""

    def look(self) -> None:
        """Begin to offer each session that has no worker any more, and to move those that were taken."""
        view = self._allocator.backend.view
        self._tasks = {id_: task for id_, task in self._tasks.items() if not task.done()}
        self._moved &= view.workers.keys()
        leaving = {w.session: w for w in view.workers.values() if w.state == "leaving" and w.name not in self._moved}
        for session in view.sessions.values():
            if session.id in self._tasks or session.worker or not session.restarts:
                continue
            if session.upstream and session.id in leaving:
                self._tasks[session.id] = asyncio.create_task(self._move(session, leaving[session.id]))
            elif not session.upstream and self._allocator.has_no_room(session) and self._may_pass(session):
                self._tasks[session.id] = asyncio.create_task(self._offer(session))

    def _may_pass(self, session: Session) -> bool:
        return self._upstreams.may_pass(session.via.split(",") if session.via else [])

    async def _offer(self, session: Session) -> None:
        try:
            current = await offer(session, body_of(session), self._allocator, self._upstreams)
        except BackendError as error:
            log.warning("session_not_offered", session=session.id, reason=str(error))
            return
        if current is not None and current.upstream:
            log.info("session_evacuated", session=session.id, upstream=current.upstream)
            self._allocator.backend.view.touch()

    async def _move(self, session: Session, old: Worker) -> None:
        try:
            kept = await take_results(old.address)
            has_results = await self._upstreams.give_results(session, kept)
            has_client = await announce_move(
                old.address, session.upstream_url, session.upstream_token, is_handed_over=has_results
            )
        except (OSError, ProblemError) as error:
            # Tried again at the next look, for as long as the worker lives.
            log.warning("session_not_moved", session=session.id, reason=str(error) or type(error).__name__)
            return
        self._moved.add(old.name)
        moved_total.labels("with results" if has_results else "without results").inc()
        log.info(
            "session_moved", session=session.id, worker=old.name, to=session.upstream, with_results=has_results,
            is_connected=has_client,
        )  # fmt: skip
