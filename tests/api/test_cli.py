"""`bongsu trace` tells where an event spent its time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from api.cli import trace
from functions import Stage
from functions.cli import run_command
from store import Store

pytestmark = pytest.mark.usefixtures("environment")


def record(database_url, make_event) -> None:
    async def write() -> None:
        store = await Store.open(database_url)
        event = make_event()
        at = event.captured_at
        detected = event.with_stage("detect", at + timedelta(seconds=0.6), at + timedelta(seconds=0.7))
        await store.sightings.record(detected, by="map", got_at=at + timedelta(seconds=0.8))
        captioned = make_event("captioned", hazard="fire", trace=detected.trace)
        caption = Stage("caption", at + timedelta(seconds=0.9), at + timedelta(seconds=1.25))
        captioned = captioned.with_stage(caption.name, caption.got_at, caption.done_at)
        incident = await store.captions.add(captioned, None, by="map", got_at=at + timedelta(seconds=1.5))
        await store.posts.claim(incident, "feed", event.id)
        await store.posts.confirm(incident, "feed", text=captioned.caption, snapshot_key=None, reference="1")
        await store.close()

    asyncio.run(write())


def test_trace_prints_each_stage_with_queued_and_working_seconds(database_url, make_event, capsys):
    record(database_url, make_event)
    assert run_command(trace, ["event-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fire event-1, incident 1, captured 2026-03-02T05:03:00.000Z"
    rows = {line[:24].strip(): line[24:].split() for line in lines[2:]}
    assert rows["motion"] == ["0.000", "0.500", "0.500"]
    assert rows["detect"] == ["0.100", "0.100", "0.700"]
    assert rows["caption"] == ["0.200", "0.350", "1.250"]
    assert rows["map"][0] == "0.100"
    assert rows["map (captioned)"][0] == "0.250"
    assert set(rows) == {"motion", "detect", "map", "caption", "map (captioned)", "post (feed)"}


def test_unknown_event_is_one_clear_line(capsys):
    assert run_command(trace, ["nothing"]) == 1
    assert capsys.readouterr().err == "bongsu trace: no event 'nothing' was recorded in this database\n"


def test_unusable_database_is_one_clear_line(monkeypatch, capsys):
    monkeypatch.setenv("BONGSU_DATABASE_URL", "bongsu.db")
    assert run_command(trace, ["event-1"]) == 1
    assert capsys.readouterr().err.startswith("bongsu trace: BONGSU_DATABASE_URL must be like sqlite+aiosqlite:///")


def test_usage_is_shown_without_an_id(capsys):
    assert run_command(trace, []) == 2
    assert "EVENT_ID" in capsys.readouterr().err
    assert run_command(trace, ["--help"]) == 0
