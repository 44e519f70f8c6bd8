"""How long a worker waits that has used more than its share of a core."""

from __future__ import annotations

import time

import pytest

from sessions.pace import Pace


def test_a_share_is_kept_over_time() -> None:
    used = 0.0
    pace, now = Pace(0.5, lambda: used), time.monotonic()
    began = now
    for _ in range(1000):
        # Each message takes 4 ms of a core; the clock goes on by that and by the wait.
        used += 0.004
        now += 0.004
        now += pace.delay_s(now)
    # 0.2 s of it may be used at once.
    assert used / (now - began) == pytest.approx(0.5, rel=0.1)


def test_an_occasional_message_does_not_wait() -> None:
    used = 0.0
    pace, now = Pace(0.5, lambda: used), time.monotonic()
    for _ in range(100):
        used, now = used + 0.004, now + 0.03
        assert pace.delay_s(now) == 0.0


def test_a_pause_saves_no_more_than_a_burst() -> None:
    used = 0.0
    pace, now = Pace(0.5, lambda: used), time.monotonic() + 3600
    assert pace.delay_s(now) == 0.0
    used = 0.3
    assert pace.delay_s(now) == pytest.approx(0.2)


async def test_no_share_is_no_limit() -> None:
    pace = Pace(0.0, lambda: 1e9)
    await pace.keep()
