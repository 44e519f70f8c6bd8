"""OGC API - Features: GDAL reads it by its address alone, and every answer is as its own definition says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import jsonschema
import pytest

from api.server import create_app, open_site
from api.settings import Settings
from functions import Place
from notify.map import Map, put_on_map
from tests.stores import START, serving_in_thread
from web.keys import new_key

URL = "https://city.example/cctv"
ITEMS = "/ogc/collections/incidents/items"


async def fill(site, make_event) -> None:
    """Two cameras; five incidents an hour apart, of which the last is a false alarm."""
    where = Map(site.store, site.snapshots)
    south = Place(lat=35.1, lon=129.0, name="Busan Port", region="Busan")
    await put_on_map(make_event("camera"), where)
    await put_on_map(make_event("camera", id_="c2", camera="gate/2 ü", place=south), where)
    for number, hazard in enumerate(("fire", "accident", "gun", "fire", "knife")):
        other = {"camera": "gate/2 ü", "place": south} if hazard == "gun" else {}
        event = make_event("captioned", id_=f"e{number}", hazard=hazard, seconds=3600 * number, **other)
        await put_on_map(event, where)
    await site.store.reviews.give(5, "false_alarm", by="kim")


@pytest.fixture
def server(tmp_path, make_event) -> Iterator[str]:
    """A real server in a thread of its own."""
    kept = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/a.db", snapshot_url=str(tmp_path / "s"))
    with serving_in_thread(kept, lambda site: fill(site, make_event)) as url:
        yield url


GDAL = """
import json, sys, pyogrio
address, layer, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
box = {"bbox": tuple(options.pop("bbox"))} if "bbox" in options else {}
layers = [name for name, _ in pyogrio.list_layers(address)] if not options.get("USERPWD") else []
info = pyogrio.read_info(address, layer=layer, **options)
meta, _, _, columns = pyogrio.raw.read(address, layer=layer, **box, **options)
read = {name: [str(one) for one in column] for name, column in zip(meta["fields"], columns)}
kinds = dict(zip(map(str, info["fields"]), map(str, info["dtypes"])))
print(json.dumps({"layers": layers, "read": read, "kinds": kinds, "crs": info["crs"], "shape": info["geometry_type"]}))
"""


def ask_gdal(address: str, layer: str, **options: object) -> dict:
    """What GDAL finds there, in a process of its own: it keeps the server's thread from running."""
    command = [sys.executable, "-c", GDAL, f"OAPIF:{address}", layer, json.dumps(options)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_gdal_reads_every_page_by_the_address_alone(server):
    found = ask_gdal(f"{server}/ogc", "incidents", PAGE_SIZE="2")
    assert found["layers"] == ["incidents", "cameras"]
    assert found["shape"] == "Point" and found["crs"] in ("OGC:CRS84", "EPSG:4326")
    assert found["kinds"]["first_seen"].startswith("datetime64") and found["kinds"]["confidence"] == "float64"
    # The false alarm is gone; the newest comes first.
    assert found["read"]["hazard"] == ["fire", "gun", "accident", "fire"]
    assert found["read"]["place"][:2] == ["Sinchon Market", "Busan Port"]
    assert ask_gdal(f"{server}/ogc", "incidents", bbox=[128, 35, 130, 36])["read"]["hazard"] == ["gun"]


def test_gdal_reads_with_a_key_as_password(tmp_path, make_event):
    text, key = new_key("gis", "viewer")
    (tmp_path / "keys").write_text(f"{key.name} {key.role} {key.digest}\n")
    kept = Settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/a.db", snapshot_url=str(tmp_path / "s"),
        api_keys=str(tmp_path / "keys"), api_read="key",
    )  # fmt: skip
    with serving_in_thread(kept, lambda site: fill(site, make_event)) as url:
        for path in ("/ogc", "/ogc/api", ITEMS):
            refused = httpx.get(url + path)
            assert refused.status_code == 401 and "Basic" in refused.headers["www-authenticate"]
        assert len(ask_gdal(f"{url}/ogc", "cameras", USERPWD=f"gis:{text}")["read"]["status"]) == 2


def test_every_answer_is_as_its_definition_says(server):
    definition = httpx.get(f"{server}/ogc/api").json()
    assert definition["openapi"].startswith("3.0") and definition["servers"] == [{"url": f"{server}/ogc"}]
    names = {"/collections/incidents/items/{featureId}": "1", "/collections/cameras/items/{featureId}": "gate-1"}
    for path, item in definition["paths"].items():
        responses = item["get"]["responses"]
        known = {one["name"] for one in item["get"]["parameters"]}
        address = server + "/ogc" + path.replace("{featureId}", names.get(path, ""))
        for query, status in (("", 200), ("?f=json", 200), ("?f=html", 400), ("?x=1", 400)):
            answer = httpx.get(address + query)
            assert answer.status_code == status, (path, query)
            ((kind, content),) = responses[str(status)]["content"].items()
            assert answer.headers["content-type"] == kind and "f" in known
            jsonschema.validate(answer.json(), {**content["schema"], "components": definition["components"]})
    # It is not part of `/openapi.json`, which is of another version.
    assert not [path for path in httpx.get(f"{server}/openapi.json").json()["paths"] if path.startswith("/ogc")]


@pytest.fixture
async def client(tmp_path, database_url, make_event):
    kept = Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "s"), public_url=URL, cors_origins="https://gis.example"
    )
    async with open_site(kept) as site:
        await fill(site, make_event)
        transport = httpx.ASGITransport(create_app(site))
        async with httpx.AsyncClient(transport=transport, base_url="https://city.example") as opened:
            opened.site = site
            yield opened


async def ids(client: httpx.AsyncClient, query: str) -> list[int]:
    answer = await client.get(f"/cctv{ITEMS}?{query}")
    assert answer.status_code == 200, answer.text
    return [feature["id"] for feature in answer.json()["features"]]


async def test_links_lead_everywhere_below_a_sub_path(client):
    seen, ahead = set(), [f"{URL}/ogc", f"{URL}/ogc/"]
    while ahead:
        address = ahead.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = await client.get(address)
        assert answer.status_code == 200, address
        document = answer.json()
        for one in (document, *document.get("collections", ())):
            for link in one.get("links", ()):
                assert link["href"].startswith(f"{URL}/ogc"), link
                if link["rel"] == "self" and one is document:
                    assert link["type"] == answer.headers["content-type"]
                ahead.append(link["href"])
        # A camera may be called anything.
        for feature in document.get("features", ()) if "cameras" in address else ():
            ahead.append(f"{URL}/ogc/collections/cameras/items/{quote(feature['id'], safe='')}")
    assert len(seen) == 11
    (server,) = (await client.get("/cctv/ogc/api")).json()["servers"]
    assert server["url"] == f"{URL}/ogc"


async def test_pages_follow_each_other_by_next_links(client):
    found, address = [], f"{URL}{ITEMS}?limit=2&hazard=fire,gun,accident"
    while address:
        page = (await client.get(address)).json()
        assert page["numberReturned"] == len(page["features"]) <= 2
        found += [feature["id"] for feature in page["features"]]
        address = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
        if address:
            asked = parse_qs(urlsplit(address).query)
            assert asked["limit"] == ["2"] and asked["hazard"] == ["fire,gun,accident"]
    assert found == [4, 3, 2, 1]
    cameras = (await client.get("/cctv/ogc/collections/cameras/items?limit=1")).json()
    (following,) = (link["href"] for link in cameras["links"] if link["rel"] == "next")
    rest = (await client.get(following)).json()
    assert [cameras["features"][0]["id"], rest["features"][0]["id"]] == ["gate-1", "gate/2 ü"]
    assert "next" not in {link["rel"] for link in rest["links"]}


async def test_parameters_select_features(client):
    third = (START + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for query, wanted in (
        ("bbox=128,35,130,36", [3]),
        ("bbox=128,35,0,130,36,99", [3]),
        ("bbox=170,30,130,40", [4, 3, 2, 1]),
        (f"datetime={third}", [3]),
        (f"datetime={third}/..", [4, 3]),
        (f"datetime=../{third}", [3, 2, 1]),
        (f"datetime=/{third}", [3, 2, 1]),
        ("datetime=../..", [4, 3, 2, 1]),
        ("hazard=fire&camera=gate-1", [4, 1]),
        ("status=open", []),
        ("limit=99999999", [4, 3, 2, 1]),
        ("f=json", [4, 3, 2, 1]),
    ):
        assert await ids(client, query) == wanted, query
    cameras = (await client.get("/cctv/ogc/collections/cameras/items?bbox=128,35,130,36")).json()["features"]
    assert [camera["id"] for camera in cameras] == ["gate/2 ü"]


async def test_question_that_cannot_be_answered_is_a_400(client):
    for query, said in (
        ("bbox=1,2,3", "bbox must be west,south,east,north"),
        ("bbox=0,0,0,0,0", "bbox must be"),
        ("datetime=yesterday", "datetime must be an ISO 8601 time"),
        ("datetime=2026-03-02T00:00:00Z/2026-03-01T00:00:00Z", "datetime must begin before it ends"),
        ("limit=0", "limit must be a whole number of 1 or more, got '0'"),
        ("hazard=flood", "hazard must be some of accident"),
        ("status=false_alarm", "status must be some of open, closed"),
        ("cursor=x", "cursor must be the unchanged `next`"),
        ("crs=EPSG:5179", "'crs' cannot be asked here: use f, bbox, datetime, limit, cursor"),
        ("f=html", "f must be json, got 'html'"),
    ):
        answer = await client.get(f"/cctv{ITEMS}?{query}")
        assert answer.status_code == 400 and said in answer.json()["detail"] and len(answer.content) < 400


async def test_withdrawn_incident_is_gone_and_comes_back(client):
    item = f"/cctv{ITEMS}/4"
    kept = (await client.get(item)).json()
    assert kept["properties"]["page"] == f"{URL}/?incident=4" and kept["geometry"]["coordinates"] == [126.937, 37.5585]
    assert (await client.get(kept["properties"]["snapshot"])).status_code == 200
    await client.site.store.reviews.give(4, "false_alarm", by="kim")
    assert (await client.get(item)).status_code == 404 and await ids(client, "") == [3, 2, 1]
    await client.site.store.reviews.give(4, "acknowledged", by="kim")
    assert (await client.get(item)).json()["properties"]["confirmed"] is True


async def test_answers_have_etags_and_pages_elsewhere_may_read(client):
    for path in ("/cctv/ogc", f"/cctv{ITEMS}", f"/cctv{ITEMS}/1"):
        answer = await client.get(path, headers={"Origin": "https://gis.example"})
        assert answer.headers["access-control-allow-origin"] == "https://gis.example"
        assert (await client.get(path, headers={"If-None-Match": answer.headers["etag"]})).status_code == 304
        assert (await client.head(path)).headers["etag"] == answer.headers["etag"]
    for path in (f"{ITEMS}/99", f"{ITEMS}/x", "/ogc/collections/x", "/ogc/collections/cameras/items/x", "/ogc/x"):
        assert (await client.get(f"/cctv{path}")).status_code == 404, path
