"""CAP alerts are valid, claim no more than is known, and hold whatever a camera is called."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree

import httpx
import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from api import atom, cap
from api.server import create_app, open_site
from api.settings import Settings
from functions import HAZARDS, Caption, Place
from functions.event import utc_now
from notify.map import Map, put_on_map
from store.records import Incident, Post, Review

URL = "https://alerts.example.org"
SITE = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
NAME_OF_7 = "bongsu-0f0e0d0c0b0a-7"
# OASIS's own schema: readers of CAP check against it.
SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("cap-1.2.xsd"))
HOSTILE = 'gate <script>alert("1")</script> & \x00\x1b]]> \ud800 한강'
ATOM = {"a": "http://www.w3.org/2005/Atom"}

# What the schema of CAP 1.2 says of each element that we use, or could: its children in order, how often each comes.
ONCE, MAYBE, SOME, ANY = (1, 1), (0, 1), (1, 99), (0, 99)
CHILDREN = {
    "alert": {
        "identifier": ONCE, "sender": ONCE, "sent": ONCE, "status": ONCE, "msgType": ONCE, "source": MAYBE,
        "scope": ONCE, "restriction": MAYBE, "addresses": MAYBE, "code": ANY, "note": MAYBE, "references": MAYBE,
        "incidents": MAYBE, "info": ANY,
    },
    "info": {
        "language": MAYBE, "category": SOME, "event": ONCE, "responseType": ANY, "urgency": ONCE, "severity": ONCE,
        "certainty": ONCE, "audience": MAYBE, "eventCode": ANY, "effective": MAYBE, "onset": MAYBE, "expires": MAYBE,
        "senderName": MAYBE, "headline": MAYBE, "description": MAYBE, "instruction": MAYBE, "web": MAYBE,
        "contact": MAYBE, "parameter": ANY, "resource": ANY, "area": ANY,
    },
    "parameter": {"valueName": ONCE, "value": ONCE},
    "resource": {
        "resourceDesc": ONCE, "mimeType": ONCE, "size": MAYBE, "uri": MAYBE, "derefUri": MAYBE, "digest": MAYBE,
    },
    "area": {"areaDesc": ONCE, "polygon": ANY, "circle": ANY, "geocode": ANY, "altitude": MAYBE, "ceiling": MAYBE},
}  # fmt: skip
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d\d:\d\d"
NAME = r"[^\s,<&]+"
TEXTS = {
    "identifier": NAME, "sender": NAME, "sent": TIME, "effective": TIME, "onset": TIME, "expires": TIME,
    "status": "Actual|Exercise|System|Test|Draft", "msgType": "Alert|Update|Cancel|Ack|Error",
    "scope": "Public|Restricted|Private", "references": rf"{NAME},{NAME},{TIME}( {NAME},{NAME},{TIME})*",
    "category": "Geo|Met|Safety|Security|Rescue|Fire|Health|Env|Transport|Infra|CBRNE|Other",
    "urgency": "Immediate|Expected|Future|Past|Unknown", "severity": "Extreme|Severe|Moderate|Minor|Unknown",
    "certainty": "Observed|Likely|Possible|Unlikely|Unknown", "language": "[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*",
    "web": r"https?://\S+", "uri": r"https?://\S+", "mimeType": r"\w+/\w+",
    "circle": r"-?\d{1,2}\.\d+,-?\d{1,3}\.\d+ \d+(\.\d+)?",
}  # fmt: skip


def check(element: ElementTree.Element) -> None:
    """Whether an element is as the schema says, and all that is in it."""
    namespace, _, name = element.tag.rpartition("}")
    assert namespace == "{" + cap.NAMESPACE and not element.attrib
    found = [child.tag.rpartition("}")[2] for child in element]
    allowed = CHILDREN.get(name, {})
    assert set(found) <= set(allowed), (name, found)
    assert found == sorted(found, key=list(allowed).index), (name, found)
    for child, (least, most) in allowed.items():
        assert least <= found.count(child) <= most, (name, child)
    if not allowed:
        assert re.fullmatch(TEXTS.get(name, r"(?s).*\S.*"), element.text or ""), (name, element.text)
    for child in element:
        check(child)


def read(document: bytes) -> dict[str, str]:
    """The alert's own values, and those of its first info block; checked."""
    root = ElementTree.fromstring(document)
    check(root)
    SCHEMA.validate(document.decode())
    infos = [child for child in root if child.tag.endswith("}info")]
    assert [infos[0][0].text, infos[1][0].text] == ["en-US", "ko-KR"]
    return {child.tag.rpartition("}")[2]: child.text or "" for part in (root, infos[0]) for child in part}


def make(**fields: object) -> Incident:
    at = datetime(2026, 3, 2, 5, 3, 0, 123456, tzinfo=UTC)
    given: dict[str, object] = {
        "id": 7, "camera": "gate-1", "hazard": "fire", "place": Place(37.5585, 126.937, "Sinchon Market", "Seoul"),
        "first_seen": at, "last_seen": at, "confidence": 0.8, "sightings": 1, "pin_s": 0.5,
        "caption": Caption("Fire at Sinchon Market.", "신촌시장에서 화재."), "snapshot_key": "ab/cd.jpg", "revision": 9,
    }  # fmt: skip
    return Incident(**(given | fields))  # type: ignore[arg-type]


def tell(incident: Incident, seconds: float = 1, url: str = URL) -> dict[str, str]:
    now = incident.last_seen + timedelta(seconds=seconds)
    return read(cap.alert(incident, base=url, site=SITE, quiet_s=120, status="Test", now=now))


def test_first_message_is_an_alert_and_claims_little():
    alert = tell(make())
    assert (alert["msgType"], alert["identifier"]) == ("Alert", f"{NAME_OF_7}.1")
    assert (alert["sender"], alert["sent"]) == (f"bongsu@{SITE}", "2026-03-02T05:03:00-00:00")
    assert (alert["urgency"], alert["severity"], alert["certainty"]) == ("Immediate", "Moderate", "Likely")
    assert "not confirmed by a person" in alert["description"] and "Fire at Sinchon Market." in alert["description"]
    assert alert["web"] == f"{URL}/?incident=7" and "references" not in alert


def test_what_follows_names_the_alert():
    alert = tell(make())
    reference = f"{alert['sender']},{alert['identifier']},{alert['sent']}"
    for incident, seconds, kind in (
        (make(sightings=2, revision=10), 1, "Update"),
        (make(), 121, "Update"),
        (make(review=Review("acknowledged", "kim", utc_now(), "")), 1, "Update"),
        (make(review=Review("false_alarm", "kim", utc_now(), "")), 1, "Cancel"),
    ):
        later = tell(incident, seconds)
        assert (later["msgType"], later["references"]) == (kind, reference)
        assert later["identifier"] != alert["identifier"]


async def test_messages_of_an_incident_follow_each_other_in_time(client, make_event):
    store, now = client.site.store, utc_now()
    where = Map(store, client.site.snapshots)
    sent = []

    async def tell_now() -> None:
        message = read((await client.get("/cap/1.xml")).content)
        assert datetime.fromisoformat(message["expires"]) > datetime.fromisoformat(message["sent"])
        sent.append((message["msgType"], message["identifier"], datetime.fromisoformat(message["sent"])))

    await put_on_map(make_event("captioned", hazard="fire", captured_at=now - timedelta(seconds=90)), where)
    await tell_now()
    await store.reviews.give(1, "acknowledged", by="kim")
    await tell_now()
    await store.reviews.withdraw(1)
    await tell_now()
    await store.reviews.give(1, "false_alarm", by="kim")
    await tell_now()
    await store.reviews.withdraw(1)
    await tell_now()
    assert [kind for kind, _, _ in sent] == ["Alert", "Update", "Update", "Cancel", "Update"]
    assert len({identifier for _, identifier, _ in sent}) == 5
    times = [at for _, _, at in sent]
    assert times == sorted(times) and times[1] > times[0]
    assert await store.reviews.given() == []


def test_message_long_after_the_last_sighting_has_not_expired():
    incident = make()
    late = incident.last_seen + timedelta(hours=3)
    for verdict in ("acknowledged", "false_alarm"):
        alert = tell(replace(incident, review=Review(verdict, "kim", late, ""), reviewed_at=late), 10_801)
        assert alert["sent"] == "2026-03-02T08:03:00-00:00" and alert["expires"] == "2026-03-02T08:05:00-00:00"
    withdrawn = tell(replace(incident, reviewed_at=late), 10_801)
    assert (withdrawn["msgType"], withdrawn["sent"]) == ("Update", "2026-03-02T08:03:00-00:00")


def test_sender_is_whom_the_operator_names():
    document = cap.alert(
        make(sightings=2), base=URL, site=SITE, quiet_s=120, status="Test", sender="alerts@city.example"
    )
    alert = read(document)
    assert alert["sender"] == "alerts@city.example" and alert["references"].startswith("alerts@city.example,")
    with pytest.raises(ValueError, match="BONGSU_CAP_SENDER must have no spaces"):
        Settings(cap_sender="the city")


def test_only_what_a_person_confirmed_is_observed():
    seen = {
        tell(make(confidence=confidence, review=review))["certainty"]: (confidence, review)
        for confidence in (0.3, 0.9)
        for review in (None, Review("acknowledged", "kim", utc_now(), ""), Review("false_alarm", "kim", utc_now(), ""))
    }
    assert set(seen) == {"Possible", "Likely", "Observed", "Unlikely"}
    assert seen["Observed"][1].verdict == "acknowledged"
    false_alarm = tell(make(review=Review("false_alarm", "kim", utc_now(), "")))
    assert (false_alarm["urgency"], false_alarm["severity"]) == ("Past", "Minor")
    assert "false alarm" in false_alarm["description"] and "resource" not in false_alarm


PLACES = st.builds(
    Place, lat=st.floats(-90, 90), lon=st.floats(-180, 180), name=st.text(max_size=300), region=st.text(max_size=50)
)
REVIEWS = st.builds(
    Review, st.sampled_from(["acknowledged", "false_alarm"]), st.just("kim"), st.just(utc_now()), st.text(max_size=50)
)
INCIDENTS = st.builds(
    make,
    camera=st.text(min_size=1, max_size=128).map(lambda name: f"c{name}"),
    hazard=st.sampled_from(HAZARDS), place=PLACES,
    caption=st.none() | st.builds(Caption, st.text(max_size=300), st.text(max_size=300)), confidence=st.floats(0, 1),
    sightings=st.integers(1, 9), review=st.none() | REVIEWS,
)  # fmt: skip


@settings(deadline=None)
@given(INCIDENTS, st.floats(0, 1000), st.sampled_from([URL, f"{URL}/cctv", "http://[::1]:8080"]))
def test_any_incident_is_a_valid_alert(incident, seconds, url):
    tell(incident, seconds, url)


def test_hostile_name_is_inert_in_every_feed():
    incident = make(camera=HOSTILE, place=Place(37.5, 127.0, HOSTILE, HOSTILE), caption=Caption(HOSTILE, HOSTILE))
    at = incident.first_seen
    post = Post(1, "feed", incident, "e", at, at, Caption(HOSTILE, HOSTILE), "ab/cd.jpg", "1", 3)
    for document in (
        cap.alert(incident, base=URL, site=SITE, quiet_s=120, status="Actual", now=at),
        atom.feed([post], URL, SITE),
        atom.cap_index([incident], URL, SITE, 120),
    ):
        assert b"<script" not in document and b"\x00" not in document
        root = ElementTree.fromstring(document)
        assert not [element for element in root.iter() if element.tag.endswith("}script")]
        assert any('<script>alert("1")</script> & ]]>' in (element.text or "") for element in root.iter())


@pytest.fixture
async def client(tmp_path, database_url):
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"), public_url=URL, cap_status="Actual")
    async with open_site(kept) as site:
        transport = httpx.ASGITransport(create_app(site))
        async with httpx.AsyncClient(transport=transport, base_url="http://bongsu") as opened:
            opened.site = site
            yield opened


async def test_index_leads_to_alerts_and_a_false_alarm_cancels(client, make_event):
    where, now = Map(client.site.store, client.site.snapshots), utc_now()
    await put_on_map(make_event("captioned", hazard="fire", captured_at=now), where)
    await put_on_map(make_event("captioned", id_="old", hazard="gun"), where)
    # Its words are to come yet.
    await put_on_map(make_event("knife", id_="wordless", captured_at=now), where)
    index = await client.get("/cap.xml")
    assert index.headers["content-type"] == "application/atom+xml"
    (entry,) = ElementTree.fromstring(index.content).findall("a:entry", ATOM)
    link = entry.find("a:link", ATOM)
    assert (link.get("href"), link.get("type")) == (f"{URL}/cap/1.xml", "application/cap+xml")
    answer = await client.get("/cap/1.xml")
    assert answer.headers["content-type"] == "application/cap+xml"
    alert = read(answer.content)
    assert (alert["msgType"], alert["status"]) == ("Alert", "Actual")
    first = entry.find("a:id", ATOM).text
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", first)
    again = await client.get("/cap/1.xml", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    await client.site.store.reviews.give(1, "false_alarm", by="kim")
    assert read((await client.get("/cap/1.xml")).content)["msgType"] == "Cancel"
    (entry,) = ElementTree.fromstring((await client.get("/cap.xml")).content).findall("a:entry", ATOM)
    assert entry.find("a:id", ATOM).text != first
    for path, status in (("/cap/3.xml", 404), ("/cap/99.xml", 404), ("/cap/x.xml", 422)):
        assert (await client.get(path)).status_code == status


async def test_atom_feed_holds_the_posts(client, make_event):
    empty = ElementTree.fromstring((await client.get("/feed.atom")).content)
    assert empty.find("a:updated", ATOM).text and not empty.findall("a:entry", ATOM)
    store = client.site.store
    await store.sightings.record(make_event())
    await store.posts.claim(1, "feed", "event-1")
    await store.posts.confirm(1, "feed", text=Caption("Fire.", "화재."), snapshot_key="ab/cd.jpg", reference="1")
    answer = await client.get("/feed.atom")
    assert answer.headers["content-type"] == "application/atom+xml"
    root = ElementTree.fromstring(answer.content)
    # RFC 4287: what a feed and an entry must have, once each.
    for element in (root, root.find("a:entry", ATOM)):
        for name in ("id", "title", "updated"):
            assert len(element.findall(f"a:{name}", ATOM)) == 1
    assert root.find("a:author/a:name", ATOM).text == "Bongsu"
    entry = root.find("a:entry", ATOM)
    assert entry.find("a:content", ATOM).text == "Fire.\n화재."
    assert [link.get("rel") for link in entry.findall("a:link", ATOM)] == ["alternate", "enclosure"]
    assert entry.find("a:id", ATOM).text.startswith("urn:uuid:")
