"""How the line is served where one of its sessions cannot be."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sessions.allocator import Allocator
from sessions.catalogue import resolve
from sessions.records import BackendError, Session, Worker
from sessions.settings import Settings
from sessions.tokens import Tokens
from tests.sessions.records import Records, RecordsBackend


class _WithoutImages(RecordsBackend):
    """A cluster that has no Deployment for workers of kind image."""

    async def start(self, session: Session) -> Worker:
        if session.kind == "image":
            raise BackendError("no deployment makes workers of kind image")
        return await super().start(session)


async def test_a_kind_that_fails_holds_up_no_other() -> None:
    records, now = Records(workers=1), datetime.now(UTC)
    for order, kind in enumerate(("image", "scalar"), 1):
        waiting = Session(
            id=kind, kind=kind, model=resolve(kind), owner="o", client="c", created_at=now, asked_at=now,
            expires_at=now + timedelta(hours=1), order=order,
        )  # fmt: skip
        records.put(waiting)
    backend = _WithoutImages(records, lags=False)
    allocator = Allocator(backend, Settings(sessions_ask="open"), Tokens(b"0" * 32))
    dispatching = asyncio.create_task(allocator.dispatch())
    served = await backend.view.until(lambda: records.sessions["scalar"].worker or None, 5.0)
    dispatching.cancel()
    assert served == "w0"
    assert [session.id for session in allocator.line()] == ["image"]
