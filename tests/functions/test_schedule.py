"""Schedules: what `@on.schedule` takes, and ticks that have one id however often they are published."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from functions import Tick, on
from functions.broker import connect
from functions.cli import function as command
from functions.cli import run_command
from functions.event import decode
from functions.function import DeclarationError, function_of
from functions.schedule import due_of_job, read_schedules, show_schedules, tick
from functions.testing import make_event, run_function
from functions.topology import queues


@on.schedule("0 6 * * *", zone="Asia/Seoul")
async def nightly(tick: Tick) -> None: ...


async def test_handler_is_called_with_its_tick():
    outcome = await run_function(nightly, make_event("tick-nightly"))
    assert [type(event) for event in outcome.handled] == [Tick]
    assert function_of(nightly).queues == ("tick-nightly.nightly",)
    assert read_schedules(show_schedules(function_of(nightly).schedules)) == function_of(nightly).schedules


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [("0 6 * *", "UTC", "five fields"), ("0 6 * * $", "UTC", "five fields"), ("0 6 * * *", "Seoul", "like Asia/Seoul")],
)
def test_wrong_schedule_is_refused_where_it_is_declared(cron, zone, said):
    with pytest.raises(DeclarationError, match=said):
        on.schedule(cron, zone=zone)(nightly)


def test_tick_of_a_job_has_the_time_that_its_name_ends_in():
    due_at = due_of_job("nightly-tick-29914380")
    assert due_at == datetime(2026, 11, 16, 21, 0, tzinfo=UTC)
    assert tick("nightly", due_at) == tick("nightly", due_at.replace(second=30))
    with pytest.raises(ValueError, match="got 'nightly-tick'"):
        due_of_job("nightly-tick")


def test_command_publishes_a_tick(tmp_path, monkeypatch, capsys):
    url = f"sqlite:///{tmp_path}/broker.db"
    monkeypatch.setenv("BONGSU_BROKER_URL", url)

    async def declare():
        broker = await connect(url)
        await broker.declare(queues(["tick-nightly.nightly"]))
        await broker.close()

    async def take():
        broker = await connect(url)
        async with broker.consume(["tick-nightly.nightly"]) as consumer:
            delivery = await consumer.get(timeout_s=5)
        await broker.close()
        return decode(delivery.message.body)

    asyncio.run(declare())
    assert run_command(command, ["tick", "nightly", "--at", "2026-11-27T06:00+09:00"]) == 0
    assert capsys.readouterr().out == "nightly-20261126T2100Z\n"
    assert asyncio.run(take()).due_at == datetime(2026, 11, 26, 21, tzinfo=UTC)
    assert run_command(command, ["tick", "other", "--job", "other-29914380"]) == 1
    assert "no queue takes 'tick-other'" in capsys.readouterr().err
