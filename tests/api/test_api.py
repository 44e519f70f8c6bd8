"""The map API as its readers see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from api.server import Site, create_app, listen, open_site, serve
from api.settings import Settings
from api.views import timestamp
from functions import Caption
from functions.event import utc_now
from notify.captions.location import draw_location
from notify.channels.feed import Feed
from notify.map import Map, put_on_map
from notify.post import PosterResources, post
from privacy.buckets import Pruned
from privacy.redact import read_back, shrink
from store import StoreError


@pytest.fixture
def settings(tmp_path, database_url) -> Settings:
    return Settings(
        database_url=database_url,
        snapshot_url=str(tmp_path / "snapshots"),
        scale_status=str(tmp_path / "scale.json"),
        quiet_s=86_400,
    )


@pytest.fixture
async def site(settings) -> AsyncIterator[Site]:
    async with open_site(settings) as opened:
        yield opened


@pytest.fixture
async def client(site) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(site))
    async with httpx.AsyncClient(transport=transport, base_url="http://bongsu") as opened:
        yield opened


async def tell(site: Site, make_event, *, picture: bool = True, **fields) -> None:
    """One hazard through map and post, as the functions do it."""
    event = make_event("captioned", **({"hazard": "fire"} | ({} if picture else {"snapshot": None}) | fields))
    await put_on_map(event, Map(site.store, site.snapshots))
    await post(event, PosterResources(site.store, site.snapshots, (Feed(),)))


async def test_incident_is_a_geojson_feature(client, site, make_event):
    await tell(site, make_event)
    answer = await client.get("/api/incidents")
    assert answer.headers["content-type"] == "application/geo+json"
    body = answer.json()
    assert body["type"] == "FeatureCollection" and body["revision"] == await site.store.revisions.newest()
    (feature,) = body["features"]
    properties = feature["properties"]
    pin_s = properties.pop("pin_s")
    assert isinstance(pin_s, float)
    assert feature["geometry"] == {"type": "Point", "coordinates": [126.9370, 37.5585]}
    assert properties == {
        "id": 1, "hazard": "fire", "camera": "gate-1", "place": "Sinchon Market", "region": "",
        "first_seen": "2026-03-02T05:03:00.000Z", "last_seen": "2026-03-02T05:03:00.000Z", "confidence": 0.8,
        "sightings": 1, "status": properties["status"], "review": None, "late": False,
        "caption": {"en": "Fire at Sinchon Market.", "ko": "신촌시장에서 화재."},
        "snapshot": properties["snapshot"],
    }  # fmt: skip
    assert (await client.get("/api/incidents/1")).json()["properties"]["id"] == 1


async def test_snapshot_is_served_and_may_be_cached_under_its_revision(client, site, make_event, street):
    await tell(site, make_event)
    address = (await client.get("/api/incidents/1")).json()["properties"]["snapshot"]
    answer = await client.get(address)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/jpeg", street)
    assert "immutable" in answer.headers["cache-control"]
    assert (await client.get("/api/incidents/1/snapshot")).headers["cache-control"] == "no-cache"


async def test_withheld_snapshot_is_a_clear_404(client, site, make_event):
    await tell(site, make_event, picture=False)
    assert (await client.get("/api/incidents/1")).json()["properties"]["snapshot"] is None
    answer = await client.get("/api/incidents/1/snapshot")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "incident 1 has no picture: it was withheld, or is not ready yet",
    )
    assert "image" not in (await client.get("/feed.json")).json()["items"][0]
    assert (await client.get("/api/posts/1/snapshot")).status_code == 404
    assert (await client.get("/api/posts/1/location")).json()["detail"] == "post 1 went out without a map"


async def test_incidents_are_filtered(client, site, make_event):
    await tell(site, make_event, id_="a")
    await tell(site, make_event, id_="b", hazard="gun", camera="gate-2", seconds=300)

    async def found(query: str) -> list[str]:
        features = (await client.get(f"/api/incidents?{query}")).json()["features"]
        return [feature["properties"]["hazard"] for feature in features]

    assert await found("") == ["gun", "fire"]
    assert await found("hazard=fire,knife") == ["fire"]
    assert await found("since=2026-03-02T05:05:00Z") == ["gun"]
    assert await found("camera=gate-1") == ["fire"]
    assert await found("bbox=0,0,1,1") == []
    assert await found("limit=1") == ["gun"]


@pytest.mark.parametrize("query", ["hazard=smoke", "since=noon", "bbox=1,2", "limit=0", "limit=many"])
async def test_bad_query_is_one_clear_line(client, query):
    answer = await client.get(f"/api/incidents?{query}")
    assert answer.status_code == 422
    name, value = query.split("=")
    detail = answer.json()["detail"]
    assert detail.startswith(f"{name} must be") and repr(value) in detail


@pytest.mark.parametrize("path", ["/api/incidents/7", "/api/incidents/7/snapshot", "/api/posts/7/snapshot"])
async def test_what_is_not_there_is_a_404_that_says_so(client, path):
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["detail"].startswith("there is no")) == (404, True)


async def test_cameras_are_features(client, site, make_event):
    await put_on_map(make_event("camera", status="lost: frozen"), Map(site.store, site.snapshots))
    (feature,) = (await client.get("/api/cameras")).json()["features"]
    assert feature["properties"] == {
        "id": "gate-1", "place": "Sinchon Market", "region": "", "status": "lost: frozen",
        "changed_at": "2026-03-02T05:03:00.000Z", "snapshot": None, "snapshot_at": None,
    }  # fmt: skip


async def test_camera_shows_its_newest_picture(client, site, make_event, street):
    name = "gate/1 <script>"
    where = Map(site.store, site.snapshots)
    assert (await client.get("/api/cameras/none/snapshot")).status_code == 404
    await put_on_map(make_event("camera", camera=name), where)
    assert "no picture" in (await client.get("/api/cameras/gate%2F1%20%3Cscript%3E/snapshot")).json()["detail"]
    for number, seconds in enumerate((60, 0, 70)):
        await put_on_map(
            make_event("captioned", id_=f"event-{number}", hazard="fire", camera=name, seconds=seconds), where
        )
    # Neither the one that came late nor the one that followed within half a minute.
    (feature,) = (await client.get("/api/cameras")).json()["features"]
    assert feature["properties"]["snapshot_at"] == "2026-03-02T05:04:00.000Z"
    address = feature["properties"]["snapshot"]
    assert address.startswith("/api/cameras/gate%2F1%20%3Cscript%3E/snapshot?v=")
    answer = await client.get(address)
    assert (answer.content, answer.headers["content-type"]) == (street, "image/jpeg")
    assert "immutable" in answer.headers["cache-control"]
    newest = await client.get(address.partition("?")[0])
    assert newest.headers["cache-control"] == "no-cache"
    again = await client.get(address, headers={"If-None-Match": newest.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"") and "immutable" in again.headers["cache-control"]


async def test_camera_shows_thumbnail_incident_shows_full_picture(client, site, make_event, street):
    where = Map(site.store, site.snapshots)
    await put_on_map(make_event("camera"), where)
    small = shrink(read_back(street))
    await put_on_map(make_event("captioned", hazard="fire", thumbnail=small.jpeg), where)
    (camera,) = (await client.get("/api/cameras")).json()["features"]
    assert (await client.get(camera["properties"]["snapshot"])).content == small.jpeg
    incident = (await client.get("/api/incidents/1")).json()["properties"]
    assert (await client.get(incident["snapshot"])).content == street
    # Small or not, it goes with the others.
    assert await site.snapshots.prune(max_age=timedelta(0), max_bytes=None) == Pruned(
        2, len(street) + len(small.jpeg), 0, 0
    )
    assert (await client.get(camera["properties"]["snapshot"])).status_code == 404


async def test_pages_hold_every_incident_once(client, site, make_event):
    for number in range(11):
        # Three at a time were last seen at the same moment.
        await site.store.sightings.record(make_event(id_=f"e{number}", camera=f"gate-{number}", seconds=number // 3))
    for query in ("", "&hazard=fire,gun", "&bbox=126,37,127,38", "&status=closed", "&since=2026-03-02T05:03:00Z"):
        seen: list[int] = []
        cursor = ""
        while cursor is not None:
            page = (await client.get(f"/api/incidents?limit=3{query}&cursor={cursor}")).json()
            seen += [feature["id"] for feature in page["features"]]
            cursor = page["next"]
        assert seen == list(range(11, 0, -1)), query
    # The last page may be full, and is the last all the same.
    assert (await client.get("/api/incidents?limit=11")).json()["next"] is None


async def test_incidents_are_found_by_status_and_until(client, site, make_event):
    for number, seconds in enumerate((0, 60, 120, 180)):
        await site.store.sightings.record(make_event(id_=f"e{number}", camera=f"gate-{number}", seconds=seconds))
    await site.store.sightings.record(make_event(id_="now", camera="gate-now", captured_at=utc_now()))
    await site.store.reviews.give(1, "false_alarm", by="kim")
    await site.store.reviews.give(2, "acknowledged", by="kim")
    await site.store.reviews.give(5, "acknowledged", by="kim")

    async def ids(query: str) -> list[int]:
        return [feature["id"] for feature in (await client.get(f"/api/incidents?{query}")).json()["features"]]

    assert await ids("") == [5, 4, 3, 2, 1]
    assert await ids("status=open") == [5]
    assert await ids("status=closed") == [4, 3, 2]
    assert await ids("status=false_alarm") == [1]
    assert await ids("status=acknowledged") == [5, 2]
    assert await ids("status=open,acknowledged") == [5, 2]
    assert await ids("status=false_alarm,%20closed&limit=3") == [4, 3, 2]
    assert await ids("status=open,closed") == [5, 4, 3, 2]
    assert await ids("status=open,closed,false_alarm") == [5, 4, 3, 2, 1]
    assert await ids("until=2026-03-02T05:05:00Z") == [3, 2, 1]
    assert await ids("until=2026-03-02T05:05:00Z&status=closed&since=2026-03-02T05:04:30Z") == [3]
    assert await ids("camera=gate-0&status=false_alarm") == [1] and await ids("camera=gate-0&status=closed") == []
    assert await ids("bbox=126,37,127,38&status=acknowledged,false_alarm") == [5, 2, 1]
    for query in ("status=gone", "until=noon", "cursor=%25%25", "cursor=MTIz"):
        answer = await client.get(f"/api/incidents?{query}")
        assert answer.status_code == 422 and answer.json()["detail"].startswith(f"{query.partition('=')[0]} must be")


async def test_incident_tells_its_stages_and_whether_it_is_late(client, site, make_event):
    await put_on_map(make_event(late=True), Map(site.store, site.snapshots))
    await tell(site, make_event)
    properties = (await client.get("/api/incidents/1")).json()["properties"]
    assert properties["late"] is True
    assert [stage["name"] for stage in properties["stages"]] == ["motion", "map", "post"]
    assert properties["stages"][0]["got_at"] == "2026-03-02T05:03:00.000Z"
    (sent,) = await site.store.posts.of_incident(1)
    body = {"name": "post", "got_at": timestamp(sent.claimed_at), "done_at": timestamp(sent.posted_at)}
    assert properties["stages"][-1] == body and sent.claimed_at <= sent.posted_at
    (feature,) = (await client.get("/api/incidents")).json()["features"]
    assert "stages" not in feature["properties"] and feature["properties"]["late"] is True


async def test_post_stage_is_that_of_the_first_post(client, site, make_event):
    await put_on_map(make_event(), Map(site.store, site.snapshots))
    await site.store.posts.claim(1, "slow", "event-1")
    await site.store.posts.claim(1, "feed", "event-1")

    async def names() -> list[str]:
        return [stage["name"] for stage in (await client.get("/api/incidents/1")).json()["properties"]["stages"]]

    # Claimed is not posted.
    assert await names() == ["motion", "map"]
    for channel in ("feed", "slow"):
        await site.store.posts.confirm(1, channel, text=Caption("Fire.", "화재."), snapshot_key=None, reference="1")
    assert await names() == ["motion", "map", "post"]
    (first, _) = await site.store.posts.of_incident(1)
    stages = (await client.get("/api/incidents/1")).json()["properties"]["stages"]
    assert first.channel == "feed" and stages[-1]["done_at"] == timestamp(first.posted_at)


async def test_answer_that_is_known_is_not_sent_again(client, site, make_event):
    await tell(site, make_event)
    for path in ("/api/incidents", "/api/incidents/1", "/api/cameras", "/feed.json"):
        first = await client.get(path)
        etag = first.headers["etag"]
        for known in (etag, f'"other", W/{etag}', "*"):
            again = await client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
    before = (await client.get("/api/incidents")).headers["etag"]
    await site.store.reviews.give(1, "acknowledged", by="kim")
    assert (await client.get("/api/incidents")).headers["etag"] != before


async def test_pipeline_is_what_the_autoscaler_wrote(client, settings):
    assert (await client.get("/api/pipeline")).json() == {"at": None, "functions": []}
    body = {"at": 1.5, "functions": [{"name": "detect", "replicas": 1}]}
    Path(settings.scale_status).write_text(json.dumps(body))
    assert (await client.get("/api/pipeline")).json() == body
    Path(settings.scale_status).write_text('{"at": 1.5, "fun')
    assert (await client.get("/api/pipeline")).json() == {"at": None, "functions": []}


async def test_feed_is_a_json_feed_newest_first(client, site, make_event):
    await tell(site, make_event, id_="a")
    await tell(site, make_event, id_="b", hazard="gun", caption=Caption(en="Gun seen.", ko="총기."))
    answer = await client.get("/feed.json")
    assert answer.headers["content-type"] == "application/feed+json"
    feed = answer.json()
    assert feed["version"] == "https://jsonfeed.org/version/1.1" and feed["title"]
    newest, oldest = feed["items"]
    assert (newest["title"], newest["content_text"]) == ("Gun · Sinchon Market", "Gun seen.\n총기.")
    assert newest["_bongsu"]["incident"] == 2 and oldest["_bongsu"]["hazard"] == "fire"
    assert newest["id"] != oldest["id"]
    assert (await client.get(newest["image"])).headers["content-type"] == "image/jpeg"


async def test_feed_has_the_map_that_went_out_with_a_post(client, site, make_event):
    event = make_event("fire")
    incident = await site.store.sightings.record(event)
    drawn = draw_location(event.place, None)
    key = await site.snapshots.put(drawn)
    await site.store.posts.claim(incident, "feed", "event-1")
    await site.store.posts.confirm(
        incident, "feed", text=Caption(en="Fire.", ko="화재."), snapshot_key=None, location_key=key, reference="1"
    )
    (item,) = (await client.get("/feed.json")).json()["items"]
    (attached,) = item["attachments"]
    answer = await client.get(attached["url"])
    assert (answer.headers["content-type"], answer.content) == (attached["mime_type"], drawn.jpeg)


async def test_feed_addresses_are_absolute_under_a_public_url(tmp_path, database_url, make_event):
    settings = Settings(database_url=database_url, snapshot_url=str(tmp_path), public_url="https://alerts.example.org/")
    async with open_site(settings) as site:
        await tell(site, make_event)
        transport = httpx.ASGITransport(create_app(site))
        async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
            feed = (await client.get("/feed.json")).json()
    assert feed["feed_url"] == "https://alerts.example.org/feed.json"
    assert feed["items"][0]["image"] == "https://alerts.example.org/api/posts/1/snapshot"


async def test_page_is_served_with_a_policy_that_names_the_tile_server(tmp_path, database_url):
    settings = Settings(
        database_url=database_url, snapshot_url=str(tmp_path), tile_url="https://{s}.tiles.example.org/{z}/{x}/{y}.png"
    )
    async with open_site(settings) as site:
        transport = httpx.ASGITransport(create_app(site))
        async with httpx.AsyncClient(transport=transport, base_url="http://bongsu") as client:
            for path in ("/", "/feed"):
                answer = await client.get(path)
                assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
                policy = answer.headers["content-security-policy"]
                assert "script-src 'self';" in policy and "img-src 'self' https://*.tiles.example.org" in policy
                assert 'content="https://{s}.tiles.example.org/{z}/{x}/{y}.png"' in answer.text
                assert answer.headers["x-content-type-options"] == "nosniff"
            assert (await client.get("/static/index.html")).status_code == 200
            assert (await client.get("/static/../api.py")).status_code == 404


def test_metrics_have_a_port_of_their_own(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [one.getsockname()[1], other.getsockname()[1]]
    names = ("BONGSU_HTTP_PORT", "BONGSU_METRICS_PORT")
    with running_api(tmp_path, **dict(zip(names, map(str, ports), strict=True))) as answer:
        assert answer(f"http://127.0.0.1:{ports[0]}/healthz")[0] == 200
        for path in ("/metrics", "/metrics/", "//metrics"):
            assert answer(f"http://127.0.0.1:{ports[0]}{path}")[0] == 404, path
        status, body = answer(f"http://127.0.0.1:{ports[1]}/metrics")
        assert status == 200 and b"bongsu_stream_readers" in body
        assert answer(f"http://127.0.0.1:{ports[1]}/healthz") == (200, b"ok\n")


@contextlib.contextmanager
def running_api(tmp_path, **variables: str):
    """The API as a process of its own, and how to ask it: status and body, once it listens."""
    base = {"PYTHONPATH": str(Path(__file__).parents[2]), "BONGSU_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/b.db"}
    process = subprocess.Popen([sys.executable, "-m", "api.server"], env=os.environ | base | variables, cwd=tmp_path)

    def answer(url: str) -> tuple[int, bytes]:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                got = httpx.get(url)
                return got.status_code, got.content
            assert process.poll() is None, "the API ended"
            time.sleep(0.1)
        raise AssertionError("the API did not answer within 30 s")

    try:
        yield answer
    finally:
        process.terminate()
        process.wait(30)


async def test_health(client, site, monkeypatch):
    assert (await client.get("/healthz")).json()["status"] == "ok"
    assert (await client.get("/livez")).json() == {"status": "ok"}

    async def fail() -> int:
        raise StoreError("database mysql://secret-host is away")

    monkeypatch.setattr(site.store.revisions, "newest", fail)
    answer = await client.get("/healthz")
    assert answer.status_code == 503 and "secret-host" not in answer.text


async def test_openapi_describes_the_endpoints(client):
    assert "/api/incidents/stream" in (await client.get("/openapi.json")).json()["paths"]


def start_api(tmp_path, **variables: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    base = {"PYTHONPATH": str(root), "BONGSU_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/bongsu.db"}
    return subprocess.run(
        [sys.executable, "-m", "api.server"],
        env=os.environ | base | variables, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
    )  # fmt: skip


def test_port_in_use_is_one_clear_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = start_api(tmp_path, BONGSU_HTTP_PORT=str(port))
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert f"port {port}" in ran.stderr and "BONGSU_HTTP_PORT" in ran.stderr


async def test_printed_address_of_an_ipv6_host_has_brackets(tmp_path, database_url):
    settings = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"))
    with listen("::1", 0) as listener, capture_logs() as logs:
        running = asyncio.create_task(serve(settings, listener))
        while not logs and not running.done():
            await asyncio.sleep(0.05)
        url = next(line["url"] for line in logs if line["event"] == "api_listening")
        assert url == f"http://[::1]:{listener.getsockname()[1]}/"
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{url}hazards.json")).status_code == 200
        os.kill(os.getpid(), signal.SIGTERM)
        await running


@pytest.mark.parametrize(
    ("name", "value"),
    [("BONGSU_HTTP_PORT", "web"), ("BONGSU_DATABASE_URL", "bongsu.db"), ("BONGSU_QUIET_S", "0")],
)
def test_wrong_setting_is_one_clear_line(tmp_path, name, value):
    ran = start_api(tmp_path, **{"BONGSU_HTTP_PORT": "0", name: value})
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1 and name in ran.stderr
