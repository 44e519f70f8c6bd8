"""From a hazard to a held alert, its review, and one post: real functions, broker, database, API, and HTTP."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from api.releases import publish_released
from api.settings import Settings
from functions import Held, Reject, decode, encode, utc_now
from functions.broker import connect
from functions.broker.base import BrokerError
from functions.function import load_function
from functions.runtime import run
from functions.signature import Verifier
from functions.topology import queues
from notify.map import Map, put_on_map
from notify.post import PosterResources, post
from tests.notify.test_functions import Square
from tests.vision_double import OpenAIDouble


@contextlib.asynccontextmanager
async def running(broker, *names: str):
    functions = [load_function(name) for name in names]
    await broker.declare(queues([queue for function in functions for queue in function.queues]))
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(run(function, broker, stopping)) for function in functions]
    yield
    stopping.set()
    await asyncio.gather(*tasks)


async def until(check):
    async with asyncio.timeout(40):
        while not (found := await check()):
            await asyncio.sleep(0.05)
        return found


@pytest.fixture
def served(monkeypatch, serve):
    """Starts a real server, and sets variables for the functions."""

    def start(settings: Settings, **variables: str):
        for name, value in variables.items():
            monkeypatch.setenv(f"BONGSU_{name}", value)
        return serve(settings)

    return start


@pytest.mark.usefixtures("environment")
async def test_held_alert_is_reviewed_released_and_posted_once(tmp_path, database_url, keys, make_event, served):
    url = f"sqlite:///{tmp_path}/broker.db"
    settings = Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "snapshots"), api_keys=str(tmp_path / "keys")
    )
    async with OpenAIDouble('{"answer": "no"}') as double:
        variables = {
            "BROKER_URL": url,
            # The test's events are old, so nothing else would be posted than what an operator releases.
            "POST_MAX_AGE_S": "600",
            "OPINION_POLICY": "fire=hold",
            "OPINION_URL": double.base,
            "OPINION_MODEL": "some-model",
            "OPINION_KEY": double.key,
        }
        broker = await connect(url)
        names = ("notify.map", "notify.caption", "notify.post")
        async with (
            served(settings, **variables) as (address, site),
            httpx.AsyncClient(base_url=address, timeout=20) as client,
            running(broker, *names),
        ):
            operator = {"Authorization": f"Bearer {keys['operator']}"}
            viewer = {"Authorization": f"Bearer {keys['viewer']}"}
            await broker.publish(encode(make_event()), encode(make_event("camera")))
            await until(site.store.held.count)
            assert await site.store.posts.newest() == []

            shown = (await client.get("/api/incidents/1", headers=viewer)).json()["properties"]
            assert (shown["status"], shown["caption"], shown["snapshot"]) == ("held", None, None)
            assert (await client.get("/api/incidents/1/snapshot", headers=viewer)).status_code == 404
            seen = (await client.get("/api/incidents/1", headers=operator)).json()["properties"]
            assert "A second network did not see it." in seen["caption"]["en"]
            assert (await client.get(seen["snapshot"], headers=operator)).status_code == 200
            listed = (await client.get("/api/incidents?status=held")).json()["features"]
            assert [one["id"] for one in listed] == [1] and listed[0]["properties"]["caption"] is None
            for path in ("/api/incidents?status=open,closed", "/ogc/collections/incidents/items"):
                assert (await client.get(path)).json()["features"] == []
            assert (await client.get("/ogc/collections/incidents/items/1")).status_code == 404
            assert (await client.get("/cap/1.xml")).status_code == 404

            said = {"verdict": "acknowledged", "note": "smoke from a kitchen"}
            assert (await client.post("/api/incidents/1/review", json=said, headers=operator)).status_code == 200
            (sent,) = await until(site.store.posts.newest)
            assert "A second network did not see it." in sent.text.en and sent.snapshot_key is not None
            assert sent.location_key is not None
            shown = (await client.get("/api/incidents/1")).json()["properties"]
            assert shown["review"]["verdict"] == "acknowledged" and shown["caption"] is not None
            assert shown["snapshot"] is not None and shown["sightings"] == 1
            # Nothing is owed any more, and what is delivered again changes nothing.
            await publish_released(site.store, "sqlite:////nowhere/broker.db")
            assert len(await site.store.posts.newest()) == 1 and double.requests == 1
            assert list(await broker.dead_letters()) == []
        await broker.close()


async def test_release_waits_for_a_broker_that_is_away(store, snapshots, make_event, tmp_path):
    alert = make_event("captioned", hazard="fire")
    held = Held(
        id=alert.id, hazard="fire", camera=alert.camera, place=alert.place, captured_at=alert.captured_at,
        alert=encode(alert).body,
    )  # fmt: skip
    for _ in range(2):
        await put_on_map(held, Map(store, snapshots))
    incident = await store.reviews.give(1, "acknowledged", by="kim")
    assert incident.sightings == 1
    url = f"sqlite:///{tmp_path}/broker.db"
    with pytest.raises(BrokerError):
        await publish_released(store, url)  # no queue takes it yet
    broker = await connect(url)
    await broker.declare(queues(["captioned.post"]))
    for _ in range(2):
        await publish_released(store, url)
    assert (await broker.depth("captioned.post")).ready == 1
    async with broker.consume(["captioned.post"]) as consumer:
        delivery = await consumer.get(5)
        event = decode(delivery.message.body)
        await delivery.ack()
    await broker.close()
    assert event == alert
    # It is old, but an operator said that it is news; and it is posted once, however often it comes.
    square = Square()
    for _ in range(2):
        await post(event, PosterResources(store, snapshots, (square,), max_age_s=1.0))
    assert len(square.posted) == 1


async def test_forged_or_foreign_held_events_are_rejected(store, snapshots, make_event):
    alert = make_event("captioned", hazard="fire")
    held = {"id": alert.id, "hazard": "fire", "camera": alert.camera, "place": alert.place, "captured_at": utc_now()}
    map_ = Map(store, snapshots, Verifier.from_environment())
    for bytes_, message in (
        (b"nothing", "without an alert"),
        (encode(make_event("captioned", hazard="fire", id_="other")).body, "of another event"),
        (encode(make_event()).body, "of another event"),
        (encode(alert).body, "no signature of the captioner"),
    ):
        with pytest.raises(Reject, match=message):
            await put_on_map(Held(alert=bytes_, **held), map_)
    assert await store.incidents.get(1) is None
