"""Subscribing to warnings: what is taken and refused, limits, and withdrawals that no restart loses."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from api.cli import key
from api.settings import Settings
from api.withdrawals import publish_owed
from functions.broker import Unroutable, connect
from functions.cli import run_command
from functions.event import Reviewed, decode, utc_now
from functions.push_keys import new_key, public_bytes, read_private, read_public
from functions.topology import queues
from store import Store
from store.push_endpoints import open_sealed
from tests.push_service import Browser
from tests.push_service import decode as decode_base64

PRIVATE, PUBLIC = new_key()
BROWSER = Browser("https://push.example.org/v2/abc")


def wanted(**changed):
    endpoint = BROWSER.endpoint
    return {
        "endpoint": endpoint.url,
        "keys": {"p256dh": endpoint.p256dh, "auth": endpoint.auth},
        "hazards": ["fire", "gun"],
        "area": {"kind": "circle", "lat": 37.5585, "lon": 126.937, "radius_m": 2000},
        "language": "ko",
        "quiet": {"from": "22:00", "until": "07:00", "timezone": "Asia/Seoul"},
    } | changed


def settings(database_url, tmp_path, **more):
    fields = {"push_public_key": PUBLIC, "snapshot_url": str(tmp_path / "snapshots")} | more
    return Settings(database_url=database_url, **fields)


@pytest.fixture
async def site(serve, database_url, tmp_path):
    async with serve(settings(database_url, tmp_path)) as (url, site), httpx.AsyncClient(base_url=url) as client:
        yield client, site.store


async def test_browser_subscribes_changes_and_ends(site):
    client, store = site
    key = decode_base64((await client.get("/api/push")).json()["key"])
    assert len(key) == 65 and key[0] == 4
    answer = await client.post("/api/push/subscriptions", json=wanted())
    assert (answer.status_code, answer.json()) == (201, {"is_new": True})
    again = await client.post("/api/push/subscriptions", json=wanted(hazards=["knife"], quiet=None))
    assert again.json() == {"is_new": False}
    (kept,) = await store.push_subscriptions.around("knife", 37.5585, 126.937)
    assert kept.wish.language == "ko" and kept.wish.quiet is None
    assert open_sealed(kept.sealed, read_private(PRIVATE)) == BROWSER.endpoint
    assert await store.push_subscriptions.around("fire", 37.5585, 126.937) == []
    for _ in range(2):
        ended = await client.post("/push/unsubscribe", json={"endpoint": BROWSER.url})
        assert ended.status_code == 204
    assert await store.push_subscriptions.around("knife", 37.5585, 126.937) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"endpoint": "https://127.0.0.1/metadata"}, "endpoint must be at a public address"),
        ({"endpoint": "http://push.example.org/v2"}, "endpoint must be an https:// address"),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, "keys.p256dh must be 65 bytes"),
        ({"keys": {"p256dh": "B" + "A" * 86, "auth": "BTBZMqHH6r4Tts7J_aSIgg"}}, "subscribe again"),
        ({"hazards": []}, "length >= 1"),
        ({"hazards": ["earthquake"]}, "earthquake"),
        ({"area": {"kind": "circle", "lat": 91, "lon": 0, "radius_m": 500}}, "<= 90.0"),
        ({"area": {"kind": "circle", "lat": 1, "lon": 0, "radius_m": 9e9}}, "<= 200000.0"),
        ({"area": {"kind": "route", "points": [[37, 127]], "width_m": 500}}, "length >= 2"),
        ({"quiet": {"from": "25:00", "until": "07:00", "timezone": "UTC"}}, "regex"),
        ({"quiet": {"from": "22:00", "until": "07:00", "timezone": "Moon/Base"}}, "such as Asia/Seoul"),
        ({"language": "tlh"}, "tlh"),
        ({"name": "Kim"}, "unknown field `name`"),
    ],
)
async def test_what_cannot_be_used_is_refused_in_one_line(site, changed, reason):
    client, store = site
    answer = await client.post("/api/push/subscriptions", json=wanted(**changed))
    assert answer.status_code == 422
    assert reason in answer.json()["detail"] and "\n" not in answer.json()["detail"]
    assert await store.push_subscriptions.find(BROWSER.endpoint.digest) is None


async def test_limits_by_address_and_in_all(serve, database_url, tmp_path):
    given = settings(database_url, tmp_path, push_per_address=2, push_subscriptions_max=1)
    async with serve(given) as (url, _), httpx.AsyncClient(base_url=url) as client:
        statuses = [
            (
                await client.post("/api/push/subscriptions", json=wanted(endpoint=f"https://push.example.org/{n}"))
            ).status_code
            for n in range(3)
        ]
        assert statuses == [201, 503, 429]
        # Who may not subscribe more may still end it.
        assert (await client.post("/push/unsubscribe", json={"endpoint": BROWSER.url})).status_code == 204


async def test_reading_by_key_needs_one_to_subscribe_but_none_to_end(serve, database_url, tmp_path, keys):
    given = settings(database_url, tmp_path, api_read="key", api_keys=str(tmp_path / "keys"))
    async with serve(given) as (url, _), httpx.AsyncClient(base_url=url) as client:
        assert (await client.post("/api/push/subscriptions", json=wanted())).status_code == 401
        bearer = {"Authorization": f"Bearer {keys['viewer']}"}
        assert (await client.post("/api/push/subscriptions", json=wanted(), headers=bearer)).status_code == 201
        assert (await client.post("/push/unsubscribe", json={"endpoint": BROWSER.url})).status_code == 204


async def test_without_a_key_nothing_is_offered(serve, database_url, tmp_path):
    given = settings(database_url, tmp_path, push_public_key="")
    async with serve(given) as (url, _), httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/api/push")).json() == {"key": None}
        refused = await client.post("/api/push/subscriptions", json=wanted())
        assert refused.status_code == 404 and "BONGSU_PUSH_PUBLIC_KEY" in refused.json()["detail"]


def test_wrong_key_is_refused_at_start():
    with pytest.raises(ValueError, match="make one with `bongsu key push`"):
        Settings(push_public_key=PRIVATE)


async def test_endpoint_is_in_no_log(site, capfd):
    client, _ = site
    await client.post("/api/push/subscriptions", json=wanted())
    await client.post("/api/push/subscriptions", json=wanted(endpoint="http://push.example.org/secret-token"))
    await client.post("/push/unsubscribe", json={"endpoint": BROWSER.url})
    said = "".join(capfd.readouterr())
    assert "push_subscribed" in said and "push_unsubscribed" in said
    assert "push.example" not in said and "37.55" not in said


async def test_false_alarm_is_published_until_everybody_knows(store, make_event, tmp_path):
    await store.push_subscriptions.put("a", "…", _wish(), most=9)
    (someone,) = await store.push_subscriptions.around("fire", 37.5585, 126.937)
    incident = await store.sightings.record(make_event(captured_at=utc_now() - timedelta(seconds=9)))
    await store.push_notices.claim(incident, [someone.id], "one", by="x")
    await store.push_notices.confirm(incident, [someone.id], "one")
    url, published = f"sqlite:///{tmp_path}/broker.db", {}
    await publish_owed(store, url, published)
    await store.reviews.give(incident, "false_alarm", by="kim")
    # No function `push` yet: it stays owed.
    with pytest.raises(Unroutable):
        await publish_owed(store, url, published)
    broker = await connect(url)
    try:
        await broker.declare(queues(["reviewed.push"]))
        await publish_owed(store, url, published)
        await publish_owed(store, url, published)
        assert (await broker.depth("reviewed.push")).ready == 1
        async with broker.consume(["reviewed.push"]) as consumer:
            delivery = await consumer.get(5)
            event = decode(delivery.message.body)
            await delivery.ack()
    finally:
        await broker.close()
    assert isinstance(event, Reviewed) and (event.incident, event.verdict) == (incident, "false_alarm")
    await store.push_notices.claim(incident, [someone.id], "withdrawn", by="x")
    await store.push_notices.confirm(incident, [someone.id], "withdrawn")
    await publish_owed(store, "sqlite:////nowhere/broker.db", {})


def _wish():
    from store.push_areas import Circle
    from store.push_subscriptions import Wish

    return Wish(("fire",), Circle(37.5585, 126.937, 500), "en")


def test_key_command_prints_a_pair_that_fits(capsys):
    assert run_command(key, ["push"]) == 0
    private, public = (line.partition("=")[2] for line in capsys.readouterr().out.splitlines())
    assert Settings(push_public_key=public).push_public_key == public
    assert public_bytes(read_private(private)) == read_public(public)


async def test_snapshot_is_served_small(serve, database_url, tmp_path, make_event, street):
    from notify.map import Map, put_on_map
    from store.snapshots import Snapshots

    given = settings(database_url, tmp_path)
    store = await Store.open(database_url)
    thumbnail, map_ = _shrunk(street), Map(store, Snapshots.open(given.snapshot_url))
    await put_on_map(make_event("captioned", hazard="fire", thumbnail=thumbnail), map_)
    await store.close()
    async with serve(given) as (url, _), httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/api/incidents/1/snapshot?size=small")).content == thumbnail
        assert (await client.get("/api/incidents/1/snapshot")).content == street
        assert (await client.get("/api/incidents/1/snapshot?size=huge")).status_code == 422


def _shrunk(jpeg):
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", cv2.resize(picture, (320, 180)))[1].tobytes()
