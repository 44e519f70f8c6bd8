"""Moves sessions from workers that must end to their next workers, results included; the keeper runs it.

A worker that is stopped, for example because its node is drained, goes on serving while its session finds another one.
Once that is ready, it gets the results that the client may not have got, and the client is sent to it with its resume
token. Every receive server may do the same at the same time.
"""

from __future__ import annotations

import asyncio

import structlog

from sessions.backend import View
from sessions.dial import announce_move, hand_over
from sessions.metrics import moved_total
from sessions.records import Session, Worker
from sessions.tokens import Tokens

log = structlog.get_logger()


class Mover:
    """Moves each session once."""

    def __init__(self, view: View, tokens: Tokens, public_url: str) -> None:
        """Prepare.

        Args:
            view: all sessions and workers.
            tokens: makes those of sessions.
            public_url: address of receive servers for clients; empty: the one that each client used.
        """
        self._view, self._tokens = view, tokens
        self._base = f"ws{public_url.removeprefix('http')}" if public_url else ""
        self._moves: dict[str, asyncio.Task[None]] = {}
        """By the worker that ends; kept until it has ended."""

    def look(self) -> None:
        """Begin to move each session whose worker must end and whose next worker is ready."""
        workers = self._view.workers
        self._moves = {name: task for name, task in self._moves.items() if name in workers}
        for old in workers.values():
            session = self._view.sessions.get(old.session)
            if old.state != "leaving" or session is None or session.worker == old.name or old.name in self._moves:
                continue
            new = self._view.worker_of(session)
            if new is not None and new.state == "ready":
                self._moves[old.name] = asyncio.create_task(self._move(session, old, new))

    async def _move(self, session: Session, old: Worker, new: Worker) -> None:
        has_results = await hand_over(old.address, new.address, session.id)
        url = f"{self._base}/s/{session.id}" if self._base else ""
        token = self._tokens.token_of(session.id)
        try:
            has_client = await announce_move(old.address, url, token, is_handed_over=has_results)
        except OSError as error:
            log.warning("session_not_moved", session=session.id, reason=str(error) or type(error).__name__)
            # Tried again at the next look, for as long as the worker lives.
            self._moves.pop(old.name, None)
            return
        moved_total.labels("with results" if has_results else "without results").inc()
        log.info(
            "session_moved", session=session.id, worker=old.name, to=new.name, node=new.node, with_results=has_results,
            is_connected=has_client,
        )  # fmt: skip
