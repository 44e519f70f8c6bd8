"""Road feeds are valid, hold what is open on a road alone, and claim no more than is known."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from xml.etree import ElementTree

import httpx
import pytest

from api.roads import datex
from api.roads.stretches import Roads, RoadsError, Stretch, parse
from api.server import create_app, open_site
from api.settings import Settings
from functions import Place
from functions.event import utc_now
from functions.hazards import HAZARDS, KINDS
from notify.map import Map, put_on_map
from store.records import Review

from .test_cap import HOSTILE, SITE, make

URL = "https://city.example/cctv"
LINE = [[126.9361, 37.5579], [126.9379, 37.5591]]
XSI = "{" + datex.NAMESPACES["xsi"] + "}type"

# What the schema of DATEX II 3.1 says of each element that we use: its children in order, how often each comes.
ONCE, MAYBE, SOME, ANY = (1, 1), (0, 1), (1, 9999), (0, 9999)
RECORD = {
    "situationRecordCreationReference": MAYBE, "situationRecordCreationTime": ONCE,
    "situationRecordObservationTime": MAYBE, "situationRecordVersionTime": ONCE,
    "situationRecordFirstSupplierVersionTime": MAYBE, "confidentialityOverride": MAYBE,
    "probabilityOfOccurrence": ONCE, "severity": MAYBE, "safetyRelatedMessage": MAYBE, "source": MAYBE,
    "validity": ONCE, "impact": MAYBE, "cause": MAYBE, "generalPublicComment": ANY, "nonGeneralPublicComment": ANY,
    "urlLink": ANY, "locationReference": ONCE, "informationManagerOverride": MAYBE, "trafficConstrictionType": MAYBE,
}  # fmt: skip
WORDS = {"com:values": ONCE}
CHILDREN: dict[str, dict[str, tuple[int, int]]] = {
    "d2:payload sit:SituationPublication": {
        "com:feedDescription": MAYBE, "com:feedType": MAYBE, "com:publicationTime": ONCE,
        "com:publicationCreator": ONCE, "sit:situation": ANY,
    },
    "com:publicationCreator": {"com:country": ONCE, "com:nationalIdentifier": ONCE},
    "sit:situation": {
        "sit:overallSeverity": MAYBE, "sit:situationVersionTime": MAYBE, "sit:headerInformation": ONCE,
        "sit:situationRecord": SOME, "sit:relatedSituation": ANY,
    },
    "sit:headerInformation": {"com:confidentiality": MAYBE, "com:informationStatus": ONCE},
    "sit:situationRecord sit:Accident": {f"sit:{name}": often for name, often in RECORD.items()}
    | {"sit:accidentCause": MAYBE, "sit:accidentType": SOME, "sit:collisionType": MAYBE},
    "sit:situationRecord sit:PoorEnvironmentConditions": {f"sit:{name}": often for name, often in RECORD.items()}
    | {"sit:drivingConditionType": MAYBE, "sit:poorEnvironmentType": SOME},
    "sit:source": {
        "com:sourceCountry": MAYBE, "com:sourceIdentification": MAYBE, "com:sourceName": MAYBE, "com:sourceType": MAYBE,
        "com:reliable": MAYBE,
    },
    "sit:validity": {"com:validityStatus": ONCE, "com:overrunning": MAYBE, "com:validityTimeSpecification": ONCE},
    "com:validityTimeSpecification": {"com:overallStartTime": ONCE, "com:overallEndTime": MAYBE},
    "sit:generalPublicComment": {"sit:comment": ONCE, "sit:commentDateTime": MAYBE, "sit:commentType": MAYBE},
    "sit:comment": WORDS, "com:sourceName": WORDS, "loc:locationDescription": WORDS, "com:values": {"com:value": SOME},
    "sit:urlLink": {"com:urlLinkAddress": ONCE, "com:urlLinkDescription": MAYBE, "com:urlLinkType": MAYBE},
    "sit:locationReference loc:LinearLocation": {
        "loc:externalReferencing": ANY, "loc:coordinatesForDisplay": MAYBE,
        "loc:supplementaryPositionalDescription": MAYBE, "loc:destination": MAYBE, "loc:openlrLinear": MAYBE,
        "loc:gmlLineString": MAYBE,
    },
    "loc:coordinatesForDisplay": {"loc:latitude": ONCE, "loc:longitude": ONCE},
    "loc:supplementaryPositionalDescription": {"loc:locationDescription": MAYBE, "loc:roadInformation": ANY},
    "loc:roadInformation": {"loc:roadDestination": MAYBE, "loc:roadName": MAYBE, "loc:roadNumber": MAYBE},
    "loc:gmlLineString": {"loc:posList": ONCE},
}  # fmt: skip
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
FLOAT = r"-?\d+\.\d+"
TEXTS = {
    "com:publicationTime": TIME, "sit:situationVersionTime": TIME, "sit:situationRecordCreationTime": TIME,
    "sit:situationRecordObservationTime": TIME, "sit:situationRecordVersionTime": TIME, "com:overallStartTime": TIME,
    "com:overallEndTime": TIME, "com:country": "[A-Z]{2}", "sit:safetyRelatedMessage": "true|false",
    "com:informationStatus": "real|securityExercise|technicalExercise|test",
    "sit:probabilityOfOccurrence": "certain|probable|riskOf", "sit:accidentType": "accident|collision",
    "sit:poorEnvironmentType": "nearbyFire|smokeHazard", "com:urlLinkType": "html", "com:urlLinkAddress": r"https?://\S+",
    "com:sourceType": "videoProcessingMonitoringStation|cameraObservation", "sit:commentType": "description|warning",
    "com:validityStatus": "active|planned|suspended|definedByValidityTimeSpec", "loc:latitude": FLOAT,
    "loc:longitude": FLOAT, "loc:posList": r"[-+]?[0-9]*\.?[0-9]+(\s[-+]?[0-9]*\.?[0-9]+){3,}",
}  # fmt: skip
NEEDED = {
    "d2:payload": {"lang", "modelBaseVersion"}, "sit:situation": {"id"}, "sit:situationRecord": {"id", "version"},
    "com:value": {"lang"},
}  # fmt: skip


def name_of(element: ElementTree.Element) -> str:
    space, _, name = element.tag[1:].partition("}")
    return f"{next(prefix for prefix, known in datex.NAMESPACES.items() if known == space)}:{name}"


def check(element: ElementTree.Element) -> None:
    """Whether an element is as the schema says, and all that is in it."""
    name = name_of(element)
    assert NEEDED.get(name, set()) <= set(element.attrib), (name, element.attrib)
    found = [name_of(child) for child in element]
    kind = element.get(XSI)
    allowed = CHILDREN.get(f"{name} {kind}" if kind else name, {})
    assert set(found) <= set(allowed), (name, found)
    assert found == sorted(found, key=list(allowed).index), (name, found)
    for child, (least, most) in allowed.items():
        assert least <= found.count(child) <= most, (name, child)
    if not allowed:
        text = element.text or ""
        assert re.fullmatch(TEXTS.get(name, r"(?s).*\S.*"), text) and len(text) <= 1024, (name, text)
    for child in element:
        check(child)


def read(document: bytes) -> ElementTree.Element:
    root = ElementTree.fromstring(document)
    check(root)
    ids = [record.get("id") for record in root.iter("{" + datex.NAMESPACES["sit"] + "}situationRecord")]
    assert len(ids) == len(set(ids))
    return root


def texts(root: ElementTree.Element, name: str) -> list[str | None]:
    return [element.text for element in root.iter() if name_of(element) == name]


def write_roads(path, *cameras: str, **properties: str) -> str:
    """A file of roads, with what a GIS adds to it."""
    features = [
        {
            "type": "Feature", "id": number, "geometry": {"type": "LineString", "coordinates": LINE},
            "properties": {"camera": camera, "street": "Sinchon-ro", "fid": number} | properties,
        }
        for number, camera in enumerate(cameras)
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "name": "roads", "features": features}))
    return str(path)


@pytest.fixture
async def client(tmp_path, database_url):
    kept = Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "s"), public_url=URL,
        roads=write_roads(tmp_path / "roads.geojson", "gate-1", "gate-2"),
    )  # fmt: skip
    async with open_site(kept) as site:
        transport = httpx.ASGITransport(create_app(site))
        async with httpx.AsyncClient(transport=transport, base_url="http://bongsu") as opened:
            opened.site = site
            yield opened


async def fill(site, make_event) -> None:
    """A fire and an accident on roads; a gun, a fire away from roads and an old accident."""
    where, now = Map(site.store, site.snapshots), utc_now()
    on_roads = [("fire", "gate-1", 3), ("accident", "gate-2", 2)]
    others = [("gun", "gate-1", 1), ("fire", "alley", 1), ("accident", "gate-1", 3600)]
    for number, (hazard, camera, ago_s) in enumerate([*on_roads, *others]):
        at = now - timedelta(seconds=ago_s)
        event = make_event("captioned", id_=f"e{number}", hazard=hazard, camera=camera, captured_at=at)
        await put_on_map(event, where)


async def test_cifs_holds_what_is_open_on_a_road(client, make_event):
    await fill(client.site, make_event)
    answer = await client.get("/cifs.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    accident, fire = (item["incident"] for item in answer.json()["incidents"])
    assert (accident["type"], fire["type"], fire["subtype"]) == ("ACCIDENT", "HAZARD", "HAZARD_ON_ROAD")
    assert "subtype" not in accident and accident["description"] == "Traffic accident (camera, unconfirmed)"
    assert fire["polyline"] == "37.557900 126.936100 37.559100 126.937900"
    assert (fire["street"], fire["direction"]) == ("Sinchon-ro", "BOTH_DIRECTIONS")
    assert re.fullmatch(r"bongsu-[0-9a-f]{12}-1", fire["id"])
    start, end = (datetime.fromisoformat(fire[name]) for name in ("starttime", "endtime"))
    assert end - start >= timedelta(minutes=10) and start.tzinfo is not None


async def test_withdrawn_and_closed_incidents_leave_road_feeds(client, make_event):
    await fill(client.site, make_event)
    before = (await client.get("/cifs.json")).json()["incidents"]
    await client.site.store.reviews.give(1, "false_alarm", by="kim")
    (left,) = (await client.get("/cifs.json")).json()["incidents"]
    assert left == before[0]
    root = read((await client.get("/datex.xml")).content)
    assert texts(root, "sit:accidentType") == ["accident"] and not texts(root, "sit:poorEnvironmentType")
    await client.site.store.reviews.withdraw(1)
    assert [one["incident"]["id"] for one in (await client.get("/cifs.json")).json()["incidents"]] == [
        one["incident"]["id"] for one in before
    ]


async def test_confirmed_road_feeds_hold_what_a_person_confirmed(client, make_event):
    await fill(client.site, make_event)
    assert (await client.get("/cifs.json?confirmed=true")).json() == {"incidents": []}
    await client.site.store.reviews.give(1, "acknowledged", by="kim")
    (only,) = (await client.get("/cifs.json?confirmed=true")).json()["incidents"]
    assert only["incident"]["description"] == "Fire (camera, confirmed)"
    root = read((await client.get("/datex.xml?confirmed=true")).content)
    assert texts(root, "sit:probabilityOfOccurrence") == ["certain"]
    assert (await client.get("/cifs.json?confirmed=perhaps")).status_code == 422


async def test_datex_publication_is_valid_and_a_test_until_meant(client, make_event):
    read((await client.get("/datex.xml")).content)
    await fill(client.site, make_event)
    answer = await client.get("/datex.xml")
    assert answer.headers["content-type"] == "application/xml"
    root = read(answer.content)
    assert texts(root, "com:informationStatus") == ["test", "test"]
    assert texts(root, "sit:probabilityOfOccurrence") == ["probable", "probable"]
    assert texts(root, "com:urlLinkAddress") == [f"{URL}/?incident=2", f"{URL}/?incident=1"]
    assert texts(root, "com:country") == ["KR"] and texts(root, "sit:poorEnvironmentType") == ["nearbyFire"]
    # It says when it was published, so no two are alike; the ETag holds until a situation changes.
    again = await client.get("/datex.xml", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and again.headers["etag"].startswith("W/")


@pytest.mark.parametrize("hazard", [hazard for hazard in HAZARDS if KINDS[hazard].road])
def test_any_name_makes_a_valid_publication(hazard):
    stretch = Stretch(HOSTILE * 90, tuple((lon, lat) for lon, lat in LINE), "both")
    at = datetime.fromisoformat("2026-03-02T05:03:00+00:00")
    for review in (None, Review("acknowledged", "kim", at, "")):
        for name in (HOSTILE, "", "  "):
            incident = make(hazard=hazard, place=Place(-37.5, -127.0, name), caption=None, review=review)
            document = datex.publication(
                [(incident, stretch)], base=URL, site=SITE, quiet_s=120, status="Actual", country="KR", sender="",
                at=at,
            )  # fmt: skip
            assert b"<script" not in document
            read(document)


async def test_without_roads_a_road_feed_says_what_is_missing(tmp_path, database_url):
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"))
    async with open_site(kept) as site:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(create_app(site)), base_url="http://bongsu")
        for path in ("/cifs.json", "/datex.xml"):
            answer = await client.get(path)
            assert answer.status_code == 404 and "BONGSU_ROADS must name" in answer.json()["detail"]


def test_changed_roads_are_noticed_and_broken_ones_ignored(tmp_path):
    path = tmp_path / "roads.geojson"
    roads = Roads.open(write_roads(path, "gate-1", direction="one"))
    assert roads.now()["gate-1"].direction == "one"
    write_roads(path, "gate-1", "gate-22")
    assert set(roads.now()) == {"gate-1", "gate-22"}
    path.write_text("{")
    assert set(roads.now()) == {"gate-1", "gate-22"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"geometry": {"type": "Point", "coordinates": [1, 2]}}, "must be a GeoJSON FeatureCollection of LineStrings"),
        ({"geometry": {"type": "LineString", "coordinates": [[1, 2]]}}, "two or more"),
        ({"geometry": {"type": "LineString", "coordinates": [[1, 2], [37.5, 127]]}}, r"got \[\[1.0, 2.0\]"),
        ({"properties": {"camera": "gate-1", "street": "A"}}, "street must have 2 characters, got 'A'"),
        ({"properties": {"camera": "gate-1"}}, "missing required field `street`"),
        ({"properties": {"camera": "gate-1", "street": "Road", "direction": "up"}}, "Invalid enum value 'up'"),
    ],
)
def test_roads_that_cannot_be_used_are_refused_by_name(change, said):
    good = {
        "geometry": {"type": "LineString", "coordinates": LINE},
        "properties": {"camera": "gate-1", "street": "Sinchon-ro"},
    }
    text = json.dumps({"type": "FeatureCollection", "features": [good | change]}).encode()
    with pytest.raises(RoadsError, match=f"r.geojson.*{said}"):
        parse(text, "r.geojson")


def test_camera_with_two_roads_is_refused():
    feature = {
        "geometry": {"type": "LineString", "coordinates": LINE},
        "properties": {"camera": "gate-1", "street": "Sinchon-ro"},
    }
    text = json.dumps({"type": "FeatureCollection", "features": [feature, feature]}).encode()
    with pytest.raises(RoadsError, match="camera 'gate-1' has two lines: keep one"):
        parse(text, "r.geojson")


def test_missing_roads_and_wrong_country_stop_the_start(tmp_path):
    with pytest.raises(RoadsError, match=r"BONGSU_ROADS: cannot read .*none.geojson: No such file"):
        Roads.open(str(tmp_path / "none.geojson"))
    with pytest.raises(ValueError, match="BONGSU_COUNTRY must be two capital letters like KR, got 'kor'"):
        Settings(country="kor")
