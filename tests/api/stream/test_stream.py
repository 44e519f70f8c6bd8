"""The live stream: nothing is missed and nothing comes twice, however often a reader has to come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api.server import Server, Site, listen, open_site
from api.settings import Settings
from functions import Caption


@dataclass
class StreamEvent:
    name: str
    id: int | None
    data: dict


async def read_stream(client: httpx.AsyncClient, query: str = "", **headers: str) -> AsyncIterator[StreamEvent]:
    """Server-sent events as a browser would take them, `pipeline` left out."""
    async with client.stream("GET", f"/api/incidents/stream{query}", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
                continue
            if "data" in fields and fields["event"] != "pipeline":
                number = int(fields["id"]) if "id" in fields else None
                yield StreamEvent(fields["event"], number, json.loads(fields["data"]))
            fields = {}


async def take(stream: AsyncIterator[StreamEvent], count: int) -> list[StreamEvent]:
    async with asyncio.timeout(20):
        return [await anext(stream) for _ in range(count)]


@pytest.fixture
async def site(tmp_path, database_url) -> AsyncIterator[Site]:
    async with open_site(Settings(database_url=database_url, snapshot_url=str(tmp_path / "snapshots"))) as opened:
        yield opened


@pytest.fixture
async def client(site) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server on a free port."""
    with listen("127.0.0.1", 0) as listener:
        server = Server(site)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base_url, timeout=20) as opened:
            yield opened
        server.should_exit = True
        async with asyncio.timeout(20):
            await serving


async def test_new_reader_is_told_what_happens_from_now_on(client, site, make_event):
    await site.store.sightings.record(make_event(id_="before"))
    while site.hub.revision < 1:
        await asyncio.sleep(0.01)
    stream = read_stream(client)
    async with contextlib.aclosing(stream):
        first = asyncio.create_task(take(stream, 3))
        while not site.hub.readers:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await site.store.sightings.record(make_event("gun", id_="now"))
        await site.store.cameras.record(make_event("camera"))
        await site.store.posts.claim(1, "feed", "before")
        await site.store.posts.confirm(1, "feed", text=Caption("Fire.", "화재."), snapshot_key=None, reference="1")
        received = await first
    assert [one.name for one in received] == ["incident", "camera", "post"]
    assert received[0].data["properties"]["hazard"] == "gun"
    assert received[1].data["properties"]["status"] == "live"
    assert received[2].data["_bongsu"]["incident"] == 1
    assert [one.id for one in received] == sorted(one.id for one in received)


async def test_returning_reader_gets_each_change_once(client, site, make_event):
    count = 40

    async def write() -> None:
        for number in range(count):
            await site.store.sightings.record(make_event(id_=f"event-{number}", camera=f"gate-{number}"))
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())
    cameras: list[str] = []
    last = 0
    while len(cameras) < count:
        # Half of the times by the header that a browser sends, half by the query that a page begins with.
        by_header = len(cameras) % 2 == 0
        stream = (
            read_stream(client, "", **{"Last-Event-ID": str(last)})
            if by_header
            else read_stream(client, f"?after={last}")
        )
        async with contextlib.aclosing(stream):
            for received in await take(stream, min(7, count - len(cameras))):
                assert received.id > last
                last = received.id
                cameras.append(received.data["properties"]["camera"])
    await writing
    assert cameras == [f"gate-{number}" for number in range(count)]


async def test_incident_changed_twice_while_away_comes_once(client, site, make_event):
    await site.store.sightings.record(make_event(id_="a"))
    await site.store.sightings.record(make_event(id_="b", seconds=1))
    await site.store.sightings.record(make_event(id_="end", camera="gate-2"))
    stream = read_stream(client, "?after=0")
    async with contextlib.aclosing(stream):
        received = await take(stream, 2)
    assert [(one.data["properties"]["camera"], one.data["properties"]["sightings"]) for one in received] == [
        ("gate-1", 2),
        ("gate-2", 1),
    ]


async def test_reader_of_another_database_is_told_everything(client, site, make_event):
    await site.store.sightings.record(make_event())
    stream = read_stream(client, "?after=5000")
    async with contextlib.aclosing(stream):
        (received,) = await take(stream, 1)
    assert received.data["properties"]["id"] == 1


async def test_pipeline_is_told_every_second(client):
    async with client.stream("GET", "/api/incidents/stream") as answer, asyncio.timeout(20):
        lines = [line async for line in take_until(answer.aiter_lines(), "event: pipeline", 2)]
    assert 'data: {"at":null,"functions":[]}' in lines


async def take_until(lines: AsyncIterator[str], wanted: str, times: int) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        times -= line == wanted
        if times == 0:
            return


async def test_bad_resume_point_is_a_clear_422(client):
    for refused in (
        await client.get("/api/incidents/stream?after=yesterday"),
        await client.get("/api/incidents/stream", headers={"Last-Event-ID": "yesterday"}),
    ):
        assert refused.status_code == 422 and "'yesterday'" in refused.json()["detail"]


async def test_reader_that_leaves_is_let_go(client, site):
    async with client.stream("GET", "/api/incidents/stream") as answer:
        await anext(answer.aiter_lines())
        assert site.hub.readers == 1
    async with asyncio.timeout(20):
        while site.hub.readers:
            await asyncio.sleep(0.05)


async def test_unexpected_fault_ends_streams_and_fails_health(client, site, make_event, monkeypatch):
    async def fail(*_: object) -> None:
        raise KeyError("a bug")

    assert (await client.get("/healthz")).status_code == 200
    async with client.stream("GET", "/api/incidents/stream") as answer, asyncio.timeout(20):
        monkeypatch.setattr(site.store.revisions, "changes_after", fail)
        async for _ in answer.aiter_lines():
            pass
    refused = await client.get("/healthz")
    assert refused.status_code == 503 and "restart" in refused.json()["detail"]


def test_api_exits_0_at_once_with_readers_connected(tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3]), "BONGSU_HTTP_PORT": "0",
        "BONGSU_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/bongsu.db", "BONGSU_SNAPSHOT_URL": str(tmp_path / "s"),
    }  # fmt: skip
    api = subprocess.Popen(
        [sys.executable, "-m", "api.server"], env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        url = json.loads(api.stderr.readline())["url"]
        with httpx.stream("GET", f"{url}api/incidents/stream", timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            api.send_signal(signal.SIGTERM)
            for _ in lines:
                pass
        assert api.wait(timeout=30) == 0
        assert api.stderr.read() == ""
    finally:
        api.kill()
        api.wait()
