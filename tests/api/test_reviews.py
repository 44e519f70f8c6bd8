"""An operator's review of an incident is stored, sent live, and ends a false alarm."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import timedelta

import httpx
import pytest

from api.settings import Settings
from functions.event import utc_now
from notify.post import PosterResources, post
from store import Store, Wanted


@pytest.fixture
async def each_store(any_database_url):
    opened = await Store.open(any_database_url)
    yield opened
    await opened.close()


async def test_sighting_after_false_alarm_opens_new_incident(each_store, make_event):
    store = each_store
    first = await store.sightings.record(make_event(id_="a", captured_at=utc_now() - timedelta(seconds=9)))
    judged = await store.reviews.give(first, "false_alarm", by="kim", note="a lamp")
    assert (judged.review.verdict, judged.review.by, judged.review.note) == ("false_alarm", "kim", "a lamp")
    assert judged.is_false_alarm and not judged.is_open(utc_now(), 120)
    second = await store.sightings.record(make_event(id_="b", captured_at=utc_now()))
    assert second != first
    assert await store.sightings.record(make_event(id_="c", captured_at=utc_now())) == second
    # The same event again stays where it was.
    assert await store.sightings.record(make_event(id_="a")) == first


async def test_what_comes_late_out_of_a_false_alarm_belongs_to_it(each_store, make_event):
    store = each_store
    first = await store.sightings.record(make_event(id_="a"))
    await store.sightings.record(make_event(id_="b", seconds=60))
    await store.reviews.give(first, "false_alarm", by="kim")
    assert await store.sightings.record(make_event(id_="c", seconds=30)) == first
    assert await store.sightings.record(make_event(id_="d", seconds=61)) != first


async def test_acknowledged_incident_goes_on(each_store, make_event):
    store = each_store
    first = await store.sightings.record(make_event(id_="a"))
    await store.reviews.give(first, "acknowledged", by="kim")
    assert await store.sightings.record(make_event(id_="b", seconds=60)) == first
    assert (await store.incidents.get(first)).review.verdict == "acknowledged"


async def test_review_can_be_withdrawn_and_repeated(each_store, make_event):
    store = each_store
    number = await store.sightings.record(make_event())
    judged = await store.reviews.give(number, "false_alarm", by="kim", note="")
    assert await store.reviews.give(number, "false_alarm", by="kim", note="") == judged
    other = await store.reviews.give(number, "acknowledged", by="lee", note="smoke after all")
    assert other.review.by == "lee" and other.revision > judged.revision
    assert (await store.reviews.withdraw(number)).review is None
    assert await store.reviews.withdraw(number) == await store.incidents.get(number)
    assert await store.reviews.give(99, "acknowledged", by="kim") is None and await store.reviews.withdraw(99) is None


async def test_lateness_is_that_of_the_first_sighting(each_store, make_event):
    store = each_store
    number = await store.sightings.record(make_event(id_="a", seconds=50, late=False))
    await store.sightings.record(make_event(id_="b", seconds=60, late=True))
    assert (await store.incidents.get(number)).late is False
    await store.sightings.record(make_event(id_="c", seconds=10, late=True))
    assert (await store.incidents.get(number)).late is True
    (listed,) = (await store.incidents.find(Wanted())).items
    assert listed.late is True


async def test_nothing_is_posted_of_a_false_alarm(store, snapshots, make_event):
    class Spy:
        name = "spy"

        def fit(self, caption, _):
            return caption

        async def post(self, *_):
            raise AssertionError("it was posted")

    number = await store.sightings.record(make_event())
    await store.reviews.give(number, "false_alarm", by="kim")
    await post(make_event("captioned", hazard="fire"), PosterResources(store, snapshots, (Spy(),)))
    assert await store.posts.of_incident(number) == []


async def test_review_is_told_to_whoever_looks(tmp_path, database_url, keys, make_event, serve):
    settings = Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "s"), api_keys=str(tmp_path / "keys"), quiet_s=3600
    )
    async with serve(settings) as (url, site), httpx.AsyncClient(base_url=url, timeout=20) as client:
        await site.store.sightings.record(make_event(captured_at=utc_now()))
        headers = {"Authorization": f"Bearer {keys['operator']}"}
        received: list[dict] = []

        async def follow() -> None:
            async with client.stream("GET", "/api/incidents/stream?after=1") as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: ") and '"Feature"' in line:
                        received.append(json.loads(line.removeprefix("data: "))["properties"])
                    if len(received) == 2:
                        return

        following = asyncio.create_task(follow())
        while not site.hub.readers:
            await asyncio.sleep(0.01)
        said = {"verdict": "false_alarm", "note": " a <b>lamp</b> "}
        answer = await client.post("/api/incidents/1/review", json=said, headers=headers)
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/geo+json"
        properties = answer.json()["properties"]
        assert properties["status"] == "false_alarm"
        review = properties["review"]
        assert (review["verdict"], review["by"], review["note"]) == ("false_alarm", "operator-1", "a <b>lamp</b>")
        assert review["at"].endswith("Z")
        while not received:
            await asyncio.sleep(0.01)
        answer = await client.delete("/api/incidents/1/review", headers=headers)
        assert (answer.json()["properties"]["status"], answer.json()["properties"]["review"]) == ("open", None)
        async with asyncio.timeout(20):
            await following
        assert [one["status"] for one in received] == ["false_alarm", "open"]
        for refused, status in (
            (await client.post("/api/incidents/9/review", json=said, headers=headers), 404),
            (await client.delete("/api/incidents/9/review", headers=headers), 404),
            (await client.post("/api/incidents/x/review", json=said, headers=headers), 422),
            (await client.post("/api/incidents/1/review", json={"verdict": "maybe"}, headers=headers), 422),
            (await client.post("/api/incidents/1/review", json=said | {"note": "x" * 1001}, headers=headers), 422),
            (await client.post("/api/incidents/1/review", data=said, headers=headers), 415),
            (await client.delete("/api/incidents/1/review"), 401),
        ):
            assert refused.status_code == status and set(refused.json()) == {"detail"}


async def test_session_reviews_as_its_key_would(tmp_path, database_url, keys, make_event, serve):
    settings = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"), api_keys=str(tmp_path / "keys"))
    async with contextlib.AsyncExitStack() as stack:
        url, site = await stack.enter_async_context(serve(settings))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url))
        await site.store.sightings.record(make_event())
        await client.post("/api/session", json={"key": keys["operator"]})
        answer = await client.post("/api/incidents/1/review", json={"verdict": "acknowledged"})
        assert answer.json()["properties"]["review"]["by"] == "operator-1"
