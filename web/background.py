"""Work that the API does beside answering, for as long as it is open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def alongside(name: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do this while it is open. Nobody waits for such work, so if it ends of an error that is told at once."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_fault)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _tell_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error(
            "background_task_failed", task=task.get_name(), reason=f"{type(error).__name__}: {error}", exc_info=error
        )
