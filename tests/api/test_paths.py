"""HEAD, OPTIONS, slashes and sub-paths: what every client of HTTP relies on, whatever it asks for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urljoin
from xml.etree import ElementTree

import httpx
import pytest

from api.server import create_app, open_site
from api.settings import Settings
from functions import Caption
from functions.event import utc_now
from notify.map import Map, put_on_map

OURS = "https://city.example/cctv"
PATHS = (
    *("/", "/feed", "/static/js/main.js", "/hazards.json", "/healthz", "/openapi.json", "/feed.json", "/feed.atom"),
    *("/cap.xml", "/cap/1.xml", "/api/incidents", "/api/incidents/1", "/api/incidents/1/snapshot", "/api/cameras"),
    *("/api/cameras/gate-1/snapshot", "/api/pipeline", "/api/session", "/api/posts/1/snapshot"),
    *("/ogc", "/ogc/", "/ogc/api", "/ogc/collections/incidents/items", "/ogc/collections/incidents/items/1"),
)


@contextlib.asynccontextmanager
async def ask(tmp_path, *, base="http://bongsu", peer="127.0.0.1", **given) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application with these settings."""
    kept = {"database_url": f"sqlite+aiosqlite:///{tmp_path}/a.db", "snapshot_url": str(tmp_path / "s")}
    async with open_site(Settings(**(kept | given))) as site:
        transport = httpx.ASGITransport(create_app(site), client=(peer, 1234))
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            client.site = site
            yield client


async def fill(site, make_event) -> None:
    """An incident with a picture, its camera and a post with the same picture."""
    where = Map(site.store, site.snapshots)
    await put_on_map(make_event("camera"), where)
    await put_on_map(make_event("captioned", hazard="fire", captured_at=utc_now()), where)
    incident = await site.store.incidents.get(1)
    await site.store.posts.claim(1, "feed", "event-1")
    post = {"text": Caption("Fire.", "화재."), "snapshot_key": incident.snapshot_key, "reference": "1"}
    await site.store.posts.confirm(1, "feed", **post, location_key=incident.snapshot_key)


async def test_head_answers_as_get_does_without_a_body(tmp_path, make_event):
    async with ask(tmp_path) as client:
        await fill(client.site, make_event)
        for path in PATHS:
            got, head = await client.get(path), await client.head(path)
            assert got.status_code == head.status_code == 200, (path, head.status_code)
            assert got.content and not head.content
            for name in ("content-type", "etag", "cache-control", "content-length", "content-security-policy"):
                assert got.headers.get(name) == head.headers.get(name), (path, name)
        assert (await client.head("/api/incidents/99")).status_code == 404
        etag = (await client.head("/feed.json")).headers["etag"]
        assert (await client.head("/feed.json", headers={"If-None-Match": etag})).status_code == 304


async def test_head_of_the_stream_ends(tmp_path, database_url, serve):
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"))
    async with serve(kept) as (url, site), httpx.AsyncClient(base_url=url, timeout=10) as client:
        answer = await client.head("/api/incidents/stream")
        assert answer.headers["content-type"].startswith("text/event-stream") and site.hub.readers == 0
        # On the wire too there is no body after the headers, so the connection can be used again.
        assert (await client.head("/feed.json")).status_code == (await client.get("/feed.json")).status_code == 200


async def test_options_and_405_name_the_methods_of_a_path(tmp_path):
    async with ask(tmp_path) as client:
        for path, methods in (
            ("/", "GET, HEAD, OPTIONS"),
            ("/static/js/main.js", "GET, HEAD, OPTIONS"),
            ("/api/incidents", "GET, HEAD, OPTIONS"),
            ("/api/incidents/stream", "GET, HEAD, OPTIONS"),
            ("/api/session", "GET, HEAD, POST, DELETE, OPTIONS"),
            ("/api/incidents/1/review", "POST, DELETE, OPTIONS"),
        ):
            answer = await client.options(path)
            assert (answer.status_code, answer.headers["allow"], answer.content) == (204, methods, b""), path
            assert (await client.put(path)).headers["allow"] == methods, path
        assert (await client.options("/nothing")).status_code == 404


@pytest.mark.parametrize("path", ["/feed/", "/api/incidents/", "/feed.json/?a=1", "/api/session/"])
async def test_slash_too_many_leads_to_the_same_host_and_scheme(tmp_path, path):
    # As a proxy that ends TLS and takes a prefix off passes it on: only the client knows its own address.
    async with ask(tmp_path) as client:
        answer = await client.get(path)
        assert answer.status_code == 307 and "://" not in answer.headers["location"]
        wanted = path.partition("?")[0].rstrip("/") + ("?a=1" if "?" in path else "")
        assert urljoin(f"{OURS}{path}", answer.headers["location"]) == f"{OURS}{wanted}"
        assert (await client.get("/nothing/")).status_code == 404


async def test_sub_path_works_with_and_without_prefix_stripping(tmp_path, keys, make_event):
    given = {"public_url": f"{OURS}/", "api_keys": str(tmp_path / "keys")}
    async with ask(tmp_path, base="https://city.example", **given) as client:
        await fill(client.site, make_event)
        for path in PATHS:
            assert (await client.get(f"/cctv{path}")).status_code == (await client.get(path)).status_code == 200, path
        answer = await client.get("/cctv?incident=1")
        assert (answer.status_code, answer.headers["location"]) == (307, "/cctv/?incident=1")
        assert (await client.get("/cctvs/feed.json")).status_code == 404
        cookie = (await client.post("/cctv/api/session", json={"key": keys["viewer"]})).headers["set-cookie"]
        assert "Path=/cctv;" in cookie and "Secure" in cookie
        assert (await client.get("/cctv/api/session")).json()["name"] == "viewer-1"
        assert "Path=/cctv;" in (await client.delete("/cctv/api/session")).headers["set-cookie"]
        assert not client.cookies
        (incident,) = (await client.get("/cctv/api/incidents")).json()["features"]
        (camera,) = (await client.get("/cctv/api/cameras")).json()["features"]
        for feature in (incident, camera):
            address = feature["properties"]["snapshot"]
            assert address.startswith("/cctv/api/") and (await client.get(address)).status_code == 200
        assert (await client.get("/cctv/openapi.json")).json()["servers"] == [{"url": "/cctv"}]
        assert (await client.get("/openapi.json")).json()["paths"].keys() >= {"/feed.json"}


@pytest.mark.parametrize("page", ["/", "/feed"])
async def test_page_names_nothing_from_the_root_of_its_host(tmp_path, page):
    async with ask(tmp_path) as client:
        text = (await client.get(page)).text
        assert 'href="/' not in text and 'src="/' not in text and 'href="static/' in text


@pytest.mark.parametrize(
    "url", ["city.example", "https://", "https://a b", "https://x/?q=1", "https://x/#a", "https://x//y"]
)
def test_public_url_that_cannot_be_used_is_refused(tmp_path, url):
    with pytest.raises(ValueError, match=r"BONGSU_PUBLIC_URL must be like https://.*, got") as refusal:
        Settings(public_url=url)
    assert repr(url) in str(refusal.value)


async def feeds(client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> tuple[list[str], list[str]]:
    """All addresses in the feeds and in an alert, and all identifiers of the Atom feeds."""
    addresses: list[str] = []
    identifiers: list[str] = []
    feed = (await client.get("/feed.json", headers=headers)).json()
    (item,) = feed["items"]
    addresses += [feed["feed_url"], feed["home_page_url"], item["url"], item["image"], item["attachments"][0]["url"]]
    for path in ("/feed.atom", "/cap.xml", "/cap/1.xml"):
        root = ElementTree.fromstring((await client.get(path, headers=headers)).content)
        for element in root.iter():
            name = element.tag.rpartition("}")[2]
            addresses += [element.get("href")] if name == "link" else []
            addresses += [element.text] if name in ("web", "uri") else []
            identifiers += [element.text] if name in ("id", "identifier", "sender", "references") else []
    return addresses, identifiers


async def test_addresses_are_absolute_by_the_request_that_asks(tmp_path, make_event):
    async with ask(tmp_path, trusted_proxies="10.0.0.0/8") as client:
        await fill(client.site, make_event)
        addresses, _ = await feeds(client)
        assert len(addresses) == 14 and all(address.startswith("http://bongsu/") for address in addresses), addresses
        # Nobody but a trusted proxy says how the client came.
        said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
        assert await feeds(client, said) == await feeds(client)
        addresses, _ = await feeds(client, {"Host": "a b<>"})
        assert all(address.startswith("http://bongsu/") for address in addresses), addresses
    async with ask(tmp_path, peer="10.1.2.3", trusted_proxies="10.0.0.0/8") as client:
        for said in (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "city.example"},
            {"X-Forwarded-Proto": "https", "Host": "city.example"},
            {"Forwarded": 'for="[2001:db8::7]:4711";proto=https;host=city.example'},
        ):
            addresses, _ = await feeds(client, said)
            assert all(address.startswith("https://city.example/") for address in addresses), (said, addresses)


async def test_identifiers_stay_when_a_public_url_is_set(tmp_path, make_event):
    sets = []
    for url in ("", "https://one.example", OURS):
        async with ask(tmp_path, public_url=url) as client:
            if not sets:
                await fill(client.site, make_event)
            addresses, identifiers = await feeds(client)
            assert not url or all(address.startswith(url) for address in addresses)
            sets.append(identifiers)
    assert sets[0] == sets[1] == sets[2] and len(sets[0]) == 6
    # Another site's are others, though it counts its posts from 1 as well.
    other = tmp_path / "other"
    other.mkdir()
    async with ask(other) as client:
        await fill(client.site, make_event)
        assert not set((await feeds(client))[1]) & set(sets[0])


async def test_enclosures_have_their_length(tmp_path, make_event, street):
    async with ask(tmp_path) as client:
        await fill(client.site, make_event)
        root = ElementTree.fromstring((await client.get("/feed.atom")).content)
        (enclosure,) = root.findall(".//{*}link[@rel='enclosure']")
        assert int(enclosure.get("length")) == len(street)
        (item,) = (await client.get("/feed.json")).json()["items"]
        assert item["attachments"][0]["size_in_bytes"] == len(street)


async def test_idle_connection_outlives_that_of_a_proxy(tmp_path, database_url, serve):
    with pytest.raises(ValueError, match="BONGSU_HTTP_KEEP_ALIVE_S must be 1 to 86400"):
        Settings(http_keep_alive_s=0)
    # nginx and load balancers keep theirs for 60 s, Traefik for 90.
    assert Settings().http_keep_alive_s > 90
    for seconds, is_kept in ((1, False), (60, True)):
        kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"), http_keep_alive_s=seconds)
        async with serve(kept) as (url, _):
            assert await is_kept_open(url, 6) is is_kept


async def is_kept_open(url: str, idle_s: float) -> bool:
    """Whether a connection answers a second request after that idle time."""
    import asyncio

    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    request = b"HEAD /hazards.json HTTP/1.1\r\nHost: bongsu\r\n\r\n"
    try:
        for wait_s in (0.0, idle_s):
            await asyncio.sleep(wait_s)
            writer.write(request)
            head = await reader.read(65_536)
            if not head.startswith(b"HTTP/1.1 200"):
                return False
        return True
    except ConnectionError:
        return False
    finally:
        writer.close()
