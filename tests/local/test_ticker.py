"""Ticks on one machine: at their times, once, and what happens to those that were missed."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from functions.broker import connect
from functions.event import decode
from functions.schedule import Schedule
from functions.topology import queues
from local.checks import RunError
from local.process.output import Output
from local.ticker import Ticker, due_times

NOON = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/broker.db"


async def ticks(url, tmp_path, at, *schedules, until=0):
    """The due times that a ticker publishes which starts at that time, once there are so many."""
    (tmp_path / "logs").mkdir(exist_ok=True)
    broker = await connect(url)
    await broker.declare(queues(f"{one.type}.nightly" for one in schedules))
    ticker = Ticker(schedules, url, tmp_path / "ticks.json", Output(tmp_path / "logs"), now=lambda: at)
    work, found = asyncio.create_task(ticker.run()), []
    async with broker.consume([f"{one.type}.nightly" for one in schedules]) as consumer:
        while (delivery := await consumer.get(timeout_s=5 if len(found) < until else 0.3)) is not None:
            found.append(decode(delivery.message.body))
            await delivery.ack()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    await broker.close()
    return found


async def test_missed_tick_is_made_up_for_once(url, tmp_path, capsys):
    each = Schedule("nightly", "*/15 * * * *")
    assert await ticks(url, tmp_path, NOON, each) == []  # new here: nothing was missed
    (tmp_path / "ticks.json").write_text('{"nightly": "2026-11-27T11:00:00+00:00"}')
    (made,) = await ticks(url, tmp_path, NOON, each, until=1)
    assert (made.id, made.due_at) == ("nightly-20261127T1200Z", NOON.replace(second=0))
    assert "is made up for, and 3 before it were missed" in capsys.readouterr().err
    assert await ticks(url, tmp_path, NOON + timedelta(minutes=5), each) == []


async def test_tick_of_long_ago_is_left_out_and_named(url, tmp_path, capsys):
    (tmp_path / "ticks.json").write_text('{"nightly": "2026-11-26T21:00:00+00:00"}')
    assert await ticks(url, tmp_path, NOON.replace(day=28), Schedule("nightly", "0 6 * * *", "Asia/Seoul")) == []
    assert "the tick of 2026-11-28T06:00+09:00 is left out, as it is over an hour old" in capsys.readouterr().err


def test_times_are_those_of_the_zone():
    seoul, berlin = Schedule("a", "0 6 * * *", "Asia/Seoul"), Schedule("a", "0 6 * * *", "Europe/Berlin")
    after = datetime(2026, 10, 24, 12, tzinfo=UTC)  # clocks in Berlin change on the 25th
    assert [at.hour for at in due_times(seoul, after, after + timedelta(days=2))] == [21, 21]
    assert [at.hour for at in due_times(berlin, after, after + timedelta(days=2))] == [5, 5]
    assert [at.hour for at in due_times(berlin, after - timedelta(days=1), after)] == [4]


def test_fields_that_are_no_time_end_the_run_in_one_line():
    with pytest.raises(RunError, match=r"schedule a: '0 25 \* \* \*' is not a time"):
        due_times(Schedule("a", "0 25 * * *"), NOON, NOON)
