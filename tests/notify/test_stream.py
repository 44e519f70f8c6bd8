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

from functions import Caption
from functions.event import utc_now
from notify.map.api import Server, Site, listen, open_site
from notify.map.pipeline import PipelineFile
from notify.map.store import Store, StoreError
from notify.map.stream import Hub, TooManyReadersError
from notify.settings import Settings


@dataclass
class Told:
    name: str
    id: int | None
    data: dict


async def read_stream(client: httpx.AsyncClient, query: str = "", **headers: str) -> AsyncIterator[Told]:
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
                yield Told(fields["event"], number, json.loads(fields["data"]))
            fields = {}


async def incidents_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events `incident` of a reader: a chunk may hold several, and others."""
    async for chunk in chunks:
        for told in chunk.split(b"\n\n"):
            if b"event: incident" in told:
                yield told


async def take(stream: AsyncIterator[Told], count: int) -> list[Told]:
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
    await site.store.record_sighting(make_event(id_="before"))
    stream = read_stream(client)
    async with contextlib.aclosing(stream):
        first = asyncio.create_task(take(stream, 3))
        while not site.hub.readers:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await site.store.record_sighting(make_event("gun", id_="now"))
        await site.store.record_camera(make_event("camera"))
        await site.store.claim(1, "feed", "before")
        await site.store.confirm(1, "feed", text=Caption("Fire.", "화재."), snapshot_key=None, reference="1")
        told = await first
    assert [one.name for one in told] == ["incident", "camera", "post"]
    assert told[0].data["properties"]["hazard"] == "gun"
    assert told[1].data["properties"]["status"] == "live"
    assert told[2].data["_bongsu"]["incident"] == 1
    assert [one.id for one in told] == sorted(one.id for one in told)


async def test_reader_that_comes_back_again_and_again_misses_nothing_and_hears_nothing_twice(client, site, make_event):
    count = 40

    async def write() -> None:
        for number in range(count):
            await site.store.record_sighting(make_event(id_=f"event-{number}", camera=f"gate-{number}"))
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
            for told in await take(stream, min(7, count - len(cameras))):
                assert told.id > last
                last = told.id
                cameras.append(told.data["properties"]["camera"])
    await writing
    assert cameras == [f"gate-{number}" for number in range(count)]


async def test_incident_changed_twice_while_away_comes_once_as_it_is_now(client, site, make_event):
    await site.store.record_sighting(make_event(id_="a"))
    await site.store.record_sighting(make_event(id_="b", seconds=1))
    await site.store.record_sighting(make_event(id_="end", camera="gate-2"))
    stream = read_stream(client, "?after=0")
    async with contextlib.aclosing(stream):
        told = await take(stream, 2)
    assert [(one.data["properties"]["camera"], one.data["properties"]["sightings"]) for one in told] == [
        ("gate-1", 2),
        ("gate-2", 1),
    ]


async def test_reader_of_another_database_is_told_everything(client, site, make_event):
    await site.store.record_sighting(make_event())
    stream = read_stream(client, "?after=5000")
    async with contextlib.aclosing(stream):
        (told,) = await take(stream, 1)
    assert told.data["properties"]["id"] == 1


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


async def test_incident_that_was_not_seen_for_the_quiet_period_is_told_as_closed(database_url, make_event):
    store = await Store.open(database_url, quiet_s=1)
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        reader = hub.open()
        await store.record_sighting(make_event(captured_at=utc_now()))
        statuses = []
        async with asyncio.timeout(20):
            async for told in incidents_of(hub.read(reader, 0)):
                data = json.loads(told.partition(b"data: ")[2])
                statuses.append((data["properties"]["status"], told.startswith(b"id: ")))
                if len(statuses) == 2:
                    break
    await store.close()
    assert statuses == [("open", True), ("closed", False)]


async def test_slow_reader_is_dropped_and_the_others_are_served(store, make_event, monkeypatch):
    monkeypatch.setattr("notify.map.stream._LOG_LENGTH", 4)
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        slow, quick = hub.open(), hub.open()
        heard: list[bytes] = []

        async def listen_on() -> None:
            async for told in incidents_of(hub.read(quick, 0)):
                heard.append(told)
                if len(heard) == 20:
                    return

        listening = asyncio.create_task(listen_on())
        for number in range(20):
            await store.record_sighting(make_event(id_=f"event-{number}", camera=f"gate-{number}"))
            await asyncio.sleep(0.06)
        async with asyncio.timeout(20):
            await listening
        assert slow.is_dropped
        async with asyncio.timeout(20):
            late = [told async for told in incidents_of(hub.read(slow, 0))]
    # It is told what it can resume from, and its stream ends instead of skipping over what was dropped.
    assert len(late) == 20


async def test_reader_that_comes_back_at_once_is_served_from_the_log(store, make_event, monkeypatch):
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        for number in range(3):
            await store.record_sighting(make_event(id_=f"event-{number}", camera=f"gate-{number}"))
        while hub._last < 3:
            await asyncio.sleep(0.01)

        async def fail(*_: object) -> None:
            raise AssertionError("the database was asked")

        monkeypatch.setattr(Store, "revision", fail)
        for after in (1, 2):
            stream = incidents_of(hub.read(hub.open(), after))
            async with asyncio.timeout(20):
                told = [await anext(stream) for _ in range(3 - after)]
            assert [int(one.partition(b"\n")[0].removeprefix(b"id: ")) for one in told] == list(range(after + 1, 4))


async def test_readers_share_what_they_are_told(store, make_event):
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        streams = [hub.follow(hub.open(), None) for _ in range(3)]
        nexts = [asyncio.create_task(anext(stream)) for stream in streams]
        await asyncio.sleep(0.2)
        await store.record_sighting(make_event())
        async with asyncio.timeout(20):
            batches = await asyncio.gather(*nexts)
        assert batches[0] is batches[1] is batches[2] and batches[0].events() is batches[1].events()
        for stream in streams:
            await stream.aclose()
    assert hub.readers == 0


async def test_readers_are_bounded(store):
    hub = Hub(store, PipelineFile(""), readers_max=1)
    hub.open()
    with pytest.raises(TooManyReadersError, match="1 readers"):
        hub.open()


async def test_fault_that_nobody_foresaw_ends_the_streams_and_shows_in_health(client, site, make_event, monkeypatch):
    async def fail(*_: object) -> None:
        raise KeyError("a bug")

    assert (await client.get("/healthz")).status_code == 200
    async with client.stream("GET", "/api/incidents/stream") as answer, asyncio.timeout(20):
        monkeypatch.setattr(Store, "changes", fail)
        async for _ in answer.aiter_lines():
            pass
    refused = await client.get("/healthz")
    assert refused.status_code == 503 and "restart" in refused.json()["detail"]


async def test_poller_outlives_a_database_that_fails_for_a_while(store, make_event, monkeypatch):
    monkeypatch.setattr("notify.map.stream._RETRY_S", 0.01)
    real, failures = Store.changes, 5

    async def fail_first(self, after, **more):
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreError("away")
        return await real(self, after, **more)

    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        reader = hub.open()
        stream = hub.read(reader, None)
        await anext(stream)
        following = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.3)
        monkeypatch.setattr(Store, "changes", fail_first)
        await store.record_sighting(make_event())
        chunk = b""
        async with asyncio.timeout(20):
            while b"event: incident" not in chunk:
                chunk = await following
                following = asyncio.create_task(anext(stream))
        following.cancel()
    assert failures == 0


def test_api_ends_at_once_with_status_0_when_told_to_though_readers_are_on(tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]), "BONGSU_HTTP_PORT": "0",
        "BONGSU_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/bongsu.db", "BONGSU_SNAPSHOT_URL": str(tmp_path / "s"),
    }  # fmt: skip
    api = subprocess.Popen(
        [sys.executable, "-m", "notify.map.api"], env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path
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
