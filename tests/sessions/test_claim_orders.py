"""One worker never goes to two sessions, and none is lost, in whatever order servers act, crash and hear of changes."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sessions import keeper
from sessions.allocator import Allocator
from sessions.catalogue import resolve
from sessions.keeper import Keeper
from sessions.offload import Upstreams
from sessions.records import Session
from sessions.settings import Settings
from sessions.tokens import Tokens
from tests.sessions.records import Records, RecordsBackend

SERVERS = st.integers(0, 2)
SETTINGS = Settings(sessions_ask="open")
NO_UPSTREAMS = Upstreams([], "edge", hops=2)


class Claims(RuleBasedStateMachine):
    """Three receive servers over one cluster; each call may be held up, or its server killed, at every await."""

    @initialize(workers=st.integers(1, 3))
    def begin(self, workers: int) -> None:
        self.records = Records(workers)
        self.running: list[Coroutine[Any, Any, object]] = []
        self.served: dict[str, str] = {}
        self.asked = 0
        self.servers = [self._server() for _ in range(3)]

    def _server(self) -> tuple[Allocator, Keeper]:
        allocator = Allocator(RecordsBackend(self.records, lags=True), SETTINGS, Tokens(b"0" * 32))
        return allocator, Keeper(allocator, SETTINGS, NO_UPSTREAMS)

    @rule()
    def ask(self) -> None:
        """All servers hear of a new session at once, or few orders would have two of them claim for it."""
        self.asked += 1
        now = datetime.now(UTC)
        session = Session(
            id=f"s{self.asked}", kind="scalar", model=resolve("scalar"), owner="o", client="c", created_at=now,
            expires_at=now + timedelta(hours=1), asked_at=now,
        )  # fmt: skip
        self.records.put(session)
        for allocator, _ in self.servers:
            allocator.backend.deliver_all()  # type: ignore[attr-defined]

    @rule(server=SERVERS, nth=st.integers(0, 4))
    def claim(self, server: int, nth: int) -> None:
        """As `dispatch` does it, which every server runs."""
        allocator, _ = self.servers[server]
        if line := allocator.line():
            self.running.append(allocator.claim_idle(line[nth % len(line)]))

    @rule(server=SERVERS)
    def keep(self, server: int) -> None:
        self.running.append(self.servers[server][1].look())

    @rule(server=SERVERS, nth=st.integers(0, 4))
    def end(self, server: int, nth: int) -> None:
        if ids := sorted(self.records.sessions):
            self.running.append(self.servers[server][0].end(ids[nth % len(ids)]))

    @rule(server=SERVERS, sessions=st.booleans())
    def hear(self, server: int, sessions: bool) -> None:
        self.servers[server][0].backend.deliver(sessions=sessions)  # type: ignore[attr-defined]

    @rule(nth=st.integers(0, 9), times=st.integers(1, 4))
    def go_on(self, nth: int, times: int) -> None:
        if self.running:
            call = self.running[nth % len(self.running)]
            for _ in range(times):
                try:
                    call.send(None)
                except StopIteration:
                    self.running.remove(call)
                    return

    @rule(nth=st.integers(0, 9), server=SERVERS)
    def crash(self, nth: int, server: int) -> None:
        """A call is never answered, and its server starts again with nothing."""
        if self.running:
            self.running.pop(nth % len(self.running)).close()
        self.records.backends.remove(self.servers[server][0].backend)  # type: ignore[arg-type]
        self.servers[server] = self._server()

    @invariant()
    def a_worker_serves_one_session(self) -> None:
        """In the eyes of each server, which lets that session's client connect."""
        for allocator, _ in getattr(self, "servers", []):
            view = allocator.backend.view
            for session in view.sessions.values():
                if (worker := view.worker_of(session)) is not None:
                    assert self.served.setdefault(worker.name, session.id) == session.id

    def teardown(self) -> None:
        """Once all is quiet, each worker is idle or serves, and nobody waits beside an idle one."""
        for call in getattr(self, "running", []):
            call.close()
        if not hasattr(self, "servers"):
            return
        for _ in range(4):
            for allocator, look in self.servers:
                allocator.backend.deliver_all()  # type: ignore[attr-defined]
                _finish(look.look())
                for session in allocator.line():
                    _finish(allocator.claim_idle(session))
        sessions, workers = self.records.sessions, self.records.workers
        for worker in workers.values():
            assert not worker.session or sessions[worker.session].worker == worker.name, "a worker is leaked"
        for session in sessions.values():
            assert not session.worker or workers[session.worker].session == session.id, "a session lost its worker"
        waiting = [s for s in sessions.values() if not s.worker]
        assert not waiting or all(w.session for w in workers.values()), "a session waits beside an idle worker"


def _finish(call: Coroutine[Any, Any, object]) -> None:
    for _ in range(1000):
        try:
            call.send(None)
        except StopIteration:
            return
    raise AssertionError("it does not end")


def test_no_order_gives_a_worker_to_two_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    # The keeper completes half-done claims at once instead of after three seconds.
    monkeypatch.setattr(keeper, "_CLAIM_TIME", timedelta(0))
    run_state_machine_as_test(
        Claims, settings=settings(max_examples=80, stateful_step_count=50, derandomize=True, deadline=None)
    )
