"""Background tasks of a service."""

from __future__ import annotations

import asyncio

import structlog

from web.background import in_background


async def test_failed_background_task_is_reported():
    async def fail():
        raise OverflowError("date value out of range")

    with structlog.testing.capture_logs() as logs:
        async with in_background("pruning", fail()), asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.01)
    (line,) = logs
    assert (line["event"], line["task"], line["log_level"]) == ("background_task_failed", "pruning", "error")
    assert line["reason"] == "OverflowError: date value out of range"


async def test_work_ends_with_what_it_is_beside_and_that_is_no_fault():
    ended = asyncio.Event()

    async def go_on():
        try:
            await asyncio.sleep(1000)
        finally:
            ended.set()

    with structlog.testing.capture_logs() as logs:
        async with in_background("audit", go_on()):
            await asyncio.sleep(0)
        assert ended.is_set()
    assert logs == []
