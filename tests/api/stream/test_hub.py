"""The hub: what each reader gets, from the log or from the store, and what happens to slow readers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from api.pipeline import PipelineFile
from api.stream import Hub, TooManyReadersError
from functions.event import utc_now
from store import Store, StoreError


async def incidents_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events `incident` of a reader: a chunk may hold several, and others."""
    async for chunk in chunks:
        for event in chunk.split(b"\n\n"):
            if b"event: incident" in event:
                yield event


async def test_quiet_incident_is_reported_closed(database_url, make_event):
    store = await Store.open(database_url, quiet_s=1)
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        reader = hub.open()
        await store.sightings.record(make_event(captured_at=utc_now()))
        statuses = []
        async with asyncio.timeout(20):
            async for event in incidents_of(hub.read(reader, 0)):
                data = json.loads(event.partition(b"data: ")[2])
                statuses.append((data["properties"]["status"], event.startswith(b"id: ")))
                if len(statuses) == 2:
                    break
    await store.close()
    assert statuses == [("open", True), ("closed", False)]


async def test_slow_reader_is_dropped_and_the_others_are_served(store, make_event, monkeypatch):
    monkeypatch.setattr("api.stream.log._LOG_LENGTH", 4)
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        slow, quick = hub.open(), hub.open()
        heard: list[bytes] = []

        async def listen_on() -> None:
            async for event in incidents_of(hub.read(quick, 0)):
                heard.append(event)
                if len(heard) == 20:
                    return

        listening = asyncio.create_task(listen_on())
        for number in range(20):
            await store.sightings.record(make_event(id_=f"event-{number}", camera=f"gate-{number}"))
            await asyncio.sleep(0.06)
        async with asyncio.timeout(20):
            await listening
        assert slow.is_dropped
        async with asyncio.timeout(20):
            late = [event async for event in incidents_of(hub.read(slow, 0))]
    # It gets the notices that it can resume after, and its stream ends instead of skipping dropped ones.
    assert len(late) == 20


async def test_reader_that_comes_back_at_once_is_served_from_the_log(store, make_event, monkeypatch):
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        for number in range(3):
            await store.sightings.record(make_event(id_=f"event-{number}", camera=f"gate-{number}"))
        while hub.revision < 3:
            await asyncio.sleep(0.01)

        async def fail(*_: object) -> None:
            raise AssertionError("the database was asked")

        monkeypatch.setattr(store.revisions, "newest", fail)
        for after in (1, 2):
            stream = incidents_of(hub.read(hub.open(), after))
            async with asyncio.timeout(20):
                events = [await anext(stream) for _ in range(3 - after)]
            assert [int(one.partition(b"\n")[0].removeprefix(b"id: ")) for one in events] == list(range(after + 1, 4))


async def test_reader_before_the_first_change_misses_nothing(store, make_event, monkeypatch):
    real, has_answer = store.incidents.find, asyncio.Event()

    async def find_slowly(wanted):
        await has_answer.wait()
        return await real(wanted)

    # The hub's first question takes long, as where the database has just come back.
    monkeypatch.setattr(store.incidents, "find", find_slowly)
    await store.sightings.record(make_event(id_="event-1", camera="gate-1"))
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        stream = incidents_of(hub.read(hub.open(), 0))
        async with asyncio.timeout(20):
            events = [await anext(stream)]
            following = asyncio.create_task(anext(stream))
            # Until it has read all that there is, and waits.
            while not hub._news._waiters:
                await asyncio.sleep(0.01)
            await store.sightings.record(make_event(id_="event-2", camera="gate-2"))
            has_answer.set()
            events.append(await following)
            await store.sightings.record(make_event(id_="event-3", camera="gate-3"))
            events.append(await anext(stream))
    assert [one.partition(b"\n")[0] for one in events] == [b"id: 1", b"id: 2", b"id: 3"]


async def test_readers_share_what_they_are_told(store, make_event):
    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        streams = [hub.follow(hub.open(), None) for _ in range(3)]
        nexts = [asyncio.create_task(anext(stream)) for stream in streams]
        await asyncio.sleep(0.2)
        await store.sightings.record(make_event())
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


async def test_poller_outlives_a_database_that_fails_for_a_while(store, make_event, monkeypatch):
    monkeypatch.setattr("api.stream.hub._RETRY_S", 0.01)
    real, failures = store.revisions.changes_after, 5

    async def fail_first(after, **more):
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreError("away")
        return await real(after, **more)

    hub = Hub(store, PipelineFile(""))
    async with hub.running():
        reader = hub.open()
        stream = hub.read(reader, None)
        await anext(stream)
        following = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.3)
        monkeypatch.setattr(store.revisions, "changes_after", fail_first)
        await store.sightings.record(make_event())
        chunk = b""
        async with asyncio.timeout(20):
            while b"event: incident" not in chunk:
                chunk = await following
                following = asyncio.create_task(anext(stream))
        following.cancel()
    assert failures == 0
