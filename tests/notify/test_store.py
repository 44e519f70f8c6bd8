"""The store decides what one incident is, whoever writes, how often, and in which order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions import Box, Caption, Detection, Place
from notify.map import database as database_module
from notify.map import queries
from notify.map.records import Camera, Incident, Post
from notify.map.store import Store, StoreError, StoreUrlError, Wanted

TEXT = Caption(en="Fire.", ko="화재.")


@pytest.fixture
def database_url(any_database_url: str) -> str:
    """Every promise of the store is kept on both databases."""
    return any_database_url


async def test_first_sighting_opens_an_incident(store, make_event):
    incident_id = await store.record_sighting(make_event())
    incident = await store.incident(incident_id)
    assert (incident.hazard, incident.camera, incident.sightings, incident.confidence) == ("fire", "gate-1", 1, 0.8)
    assert incident.first_seen == incident.last_seen == make_event().captured_at
    assert incident.place == make_event().place


async def test_sighting_within_the_quiet_period_extends_the_incident(store, make_event):
    first = await store.record_sighting(make_event())
    second = await store.record_sighting(make_event(id_="event-2", seconds=120))
    assert first == second
    incident = await store.incident(first)
    assert incident.sightings == 2
    assert incident.last_seen - incident.first_seen == timedelta(seconds=120)


async def test_sighting_after_the_quiet_period_opens_another(store, make_event):
    first = await store.record_sighting(make_event())
    assert await store.record_sighting(make_event(id_="event-2", seconds=120.001)) != first


async def test_hazards_and_cameras_have_incidents_of_their_own(store, make_event):
    ids = {
        await store.record_sighting(make_event()),
        await store.record_sighting(make_event("gun")),
        await store.record_sighting(make_event(id_="event-2", camera="gate-2")),
    }
    assert len(ids) == 3


async def test_names_of_cameras_are_told_apart_by_case(store, make_event):
    first = await store.record_sighting(make_event(camera="gate"))
    assert await store.record_sighting(make_event(id_="event-2", camera="Gate")) != first


async def test_same_event_again_changes_nothing(store, make_event):
    first = await store.record_sighting(make_event())
    revision = await store.revision()
    assert await store.record_sighting(make_event()) == first
    assert await store.record_sighting(make_event("captioned", hazard="fire")) == first
    assert (await store.incident(first)).sightings == 1
    assert await store.revision() == revision


async def test_late_event_joins_the_incident_it_falls_into(store, make_event):
    first = await store.record_sighting(make_event(id_="a", seconds=0))
    await store.record_sighting(make_event(id_="b", seconds=100))
    second = await store.record_sighting(make_event(id_="c", seconds=1000))
    assert await store.record_sighting(make_event(id_="d", seconds=50)) == first
    assert (await store.incident(first)).last_seen - (await store.incident(first)).first_seen == timedelta(seconds=100)
    assert await store.record_sighting(make_event(id_="e", seconds=900)) == second
    assert (await store.incident(second)).first_seen == make_event(seconds=900).captured_at


@given(order=st.permutations(range(6)))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_incidents_are_the_same_in_whatever_order_events_of_one_fire_come(order, make_event, tmp_path_factory):
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('order')}/bongsu.db"

    async def record() -> Incident:
        store = await Store.open(url)
        try:
            # 20 s apart: however they come, each is within the quiet period of all others.
            for number in order:
                event = make_event(id_=f"event-{number}", seconds=20 * number)
                box = Detection("fire", 0.5 + number / 20, Box(0, 0, 0.1, 0.1))
                await store.record_sighting(msgspec.structs.replace(event, detections=(box,)))
            (incident,) = (await store.incidents()).items
            return incident
        finally:
            await store.close()

    incident = asyncio.run(record())
    assert incident.sightings == 6
    assert incident.first_seen == make_event().captured_at
    assert incident.last_seen == make_event(seconds=100).captured_at
    assert incident.confidence == 0.75


WRITER = """
import asyncio, sys
from datetime import timedelta
from functions import Box, Detection, Event, Place
from functions.event import utc_now
from datetime import datetime, UTC
from notify.map.store import Store

async def main(url, worker):
    store = await Store.open(url)
    at = datetime(2026, 11, 22, 5, 3, tzinfo=UTC)
    for number in range(15):
        for name in (f"own-{worker}-{number}", f"shared-{number}"):
            event = Event(
                id=name, type="fire", camera="gate-1", place=Place(37.5, 127.0, "Gate"),
                captured_at=at + timedelta(seconds=number), detections=(Detection("fire", 0.5, Box(0, 0, 1, 1)),),
            )
            incident = await store.record_sighting(event)
        claim = await store.claim(incident, "feed", f"own-{worker}-{number}")
        if claim.outcome == "ours":
            print("claimed", flush=True)
    await store.close()

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def test_processes_that_write_at_once_make_one_incident_and_one_claim(database_url):
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, database_url, str(number)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    results = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, results

    async def look() -> list[int]:
        store = await Store.open(database_url)
        found = [incident.sightings for incident in (await store.incidents()).items]
        await store.close()
        return found

    assert asyncio.run(look()) == [4 * 15 + 15]
    assert "".join(out for out, _ in results).count("claimed") == 1


async def test_caption_and_picture_of_the_best_sighting_are_shown(store, make_event):
    def captioned(id_: str, confidence: float, **fields: object):
        box = Detection("fire", confidence, Box(0, 0, 0.5, 0.5))
        return make_event("captioned", hazard="fire", id_=id_, detections=(box,), **fields)

    withheld = captioned("a", 0.95, snapshot=None, caption=Caption("without picture", ""))
    incident_id = await store.add_caption(withheld, None)
    assert (await store.incident(incident_id)).caption.en == "without picture"
    await store.add_caption(captioned("b", 0.6, caption=Caption("first picture", "")), "key-b")
    await store.add_caption(captioned("c", 0.9, caption=Caption("better picture", "")), "key-c")
    worse = captioned("d", 0.7, caption=Caption("worse picture", ""))
    await store.record_sighting(worse)
    assert not await store.wants_caption(worse)
    await store.add_caption(worse, "key-d")
    incident = await store.incident(incident_id)
    assert (incident.caption.en, incident.snapshot_key, incident.sightings) == ("better picture", "key-c", 4)


async def test_caption_again_leaves_what_is_shown(store, make_event):
    captioned = make_event("captioned", hazard="fire")
    incident_id = await store.add_caption(captioned, "key")
    before = await store.incident(incident_id)
    await store.add_caption(captioned, "key")
    assert await store.incident(incident_id) == before


async def test_claim_is_given_once_and_ends_with_its_post(store, make_event):
    incident = await store.record_sighting(make_event())
    assert (await store.claim(incident, "feed", "event-1")).outcome == "ours"
    assert (await store.claim(incident, "feed", "event-2")).outcome == "busy"
    assert (await store.claim(incident, "elsewhere", "event-2")).outcome == "ours"
    await store.confirm(incident, "feed", text=TEXT, snapshot_key=None, reference="1")
    assert (await store.claim(incident, "feed", "event-1")).outcome == "posted"
    assert (await store.claim(incident, "feed", "event-2", stale_s=0)).outcome == "posted"


async def test_claim_of_a_dead_worker_is_resumed_by_its_own_event_or_once_it_is_stale(store, make_event):
    incident = await store.record_sighting(make_event())
    assert (await store.claim(incident, "feed", "event-1")).outcome == "ours"
    assert (await store.claim(incident, "feed", "event-1")).outcome == "ours"
    assert (await store.claim(incident, "feed", "event-2", stale_s=0)).outcome == "ours"
    assert (await store.claim(incident, "feed", "event-1")).outcome == "busy"


async def test_released_claim_is_free_for_any_event(store, make_event):
    incident = await store.record_sighting(make_event())
    await store.claim(incident, "feed", "event-1")
    await store.release(incident, "feed", "event-2")
    assert (await store.claim(incident, "feed", "event-3")).outcome == "busy"
    await store.release(incident, "feed", "event-1")
    assert (await store.claim(incident, "feed", "event-3")).outcome == "ours"


async def test_post_is_seen_only_when_confirmed_and_the_first_confirmation_stays(store, make_event):
    incident = await store.record_sighting(make_event())
    await store.claim(incident, "feed", "event-1")
    assert await store.posts() == []
    await store.confirm(incident, "feed", text=TEXT, snapshot_key="key", reference="1")
    await store.confirm(incident, "feed", text=Caption("other", "other"), snapshot_key=None, reference="2")
    (post,) = await store.posts()
    assert (post.text, post.snapshot_key, post.reference, post.event_id) == (TEXT, "key", "1", "event-1")
    assert post.incident.id == incident


async def test_camera_keeps_the_newest_status_and_when_it_changed(store, make_event):
    await store.record_camera(make_event("camera", seconds=10))
    await store.record_camera(make_event("camera", seconds=5, status="lost: no route"))
    (camera,) = await store.cameras()
    assert (camera.status, camera.changed_at) == ("live", make_event(seconds=10).captured_at)
    revision = camera.revision
    await store.record_camera(make_event("camera", seconds=20))
    assert (await store.cameras())[0].revision == revision
    await store.record_camera(make_event("camera", seconds=30, status="lost: frozen"))
    (camera,) = await store.cameras()
    assert (camera.status, camera.changed_at) == ("lost: frozen", make_event(seconds=30).captured_at)


async def test_address_of_a_stream_in_a_status_goes_no_further(store, make_event):
    await store.record_camera(
        make_event("camera", status="lost: no answer from rtsp://user:secret@10.0.0.7/live in 10 s")
    )
    assert (await store.cameras())[0].status == "lost: no answer from (address) in 10 s"


async def test_changes_come_in_order_each_once_and_in_pages(store, make_event):
    for number in range(5):
        await store.record_sighting(make_event(id_=f"event-{number}", camera=f"gate-{number}"))
    await store.record_camera(make_event("camera"))
    await store.claim(1, "feed", "event-0")
    await store.confirm(1, "feed", text=TEXT, snapshot_key=None, reference="1")
    every = await store.changes(0)
    assert [type(item) for item in every.items] == [Incident] * 5 + [Camera, Post]
    assert every.revision == await store.revision()
    seen: list[int] = []
    after = 0
    while page := (await store.changes(after, limit=2)).items:
        seen += [item.revision for item in page]
        after = page[-1].revision
    assert seen == [item.revision for item in every.items] == sorted(set(seen))
    assert (await store.changes(every.revision)).items == ()


async def test_incidents_are_found_by_hazard_time_place_and_camera(store, make_event):
    places = {
        "seoul": Place(37.5, 127.0, "Seoul"),
        "fiji": Place(-17.8, 179.5, "Suva"),
        "samoa": Place(-14, -172, "Apia"),
    }
    for number, (camera, place) in enumerate(places.items()):
        await store.record_sighting(make_event(id_=camera, camera=camera, place=place, seconds=60 * number))
    await store.record_sighting(make_event("gun", id_="gun", camera="seoul", place=places["seoul"], seconds=180))

    async def found(**query: object) -> list[str]:
        return [f"{item.camera} {item.hazard}" for item in (await store.incidents(Wanted(**query))).items]

    assert await found() == ["seoul gun", "samoa fire", "fiji fire", "seoul fire"]
    assert await found(hazards=("gun",)) == ["seoul gun"]
    assert await found(since=make_event(seconds=120).captured_at) == ["seoul gun", "samoa fire"]
    assert await found(camera="fiji") == ["fiji fire"]
    assert await found(bbox=(126, 37, 128, 38)) == ["seoul gun", "seoul fire"]
    assert await found(bbox=(170, -20, -170, 0)) == ["samoa fire", "fiji fire"]
    assert await found(limit=1) == ["seoul gun"]


async def test_sighting_keeps_its_trace_with_the_stage_that_recorded_it(store, make_event):
    event = make_event()
    await store.record_sighting(event, by="map", got_at=event.captured_at)
    (sighting,) = await store.sightings("event-1")
    assert [stage.name for stage in sighting.trace] == ["motion", "map"]
    assert sighting.trace[-1].done_at == sighting.recorded_at


async def test_event_about_no_hazard_is_refused(store, make_event):
    with pytest.raises(ValueError, match="accident, fire, gun, knife"):
        await store.record_sighting(make_event("camera"))


async def test_wrong_url_is_refused_without_showing_a_password():
    with pytest.raises(StoreUrlError, match="BONGSU_DATABASE_URL") as refusal:
        await Store.open("postgresql://bongsu:secret@db/bongsu")
    assert "secret" not in str(refusal.value)
    with pytest.raises(StoreUrlError, match="BONGSU_DATABASE_URL"):
        await Store.open("bongsu.db")


async def test_database_that_is_no_database_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "bongsu.db").write_bytes(b"this is a text file, and a long enough one to be looked at" * 100)
    with pytest.raises(StoreError, match="not a database") as refusal:
        await Store.open(f"sqlite+aiosqlite:///{tmp_path}/bongsu.db")
    assert "\n" not in str(refusal.value)


async def test_full_disk_is_a_clear_refusal_and_what_was_kept_stays(tmp_path, make_event, monkeypatch):
    url = f"sqlite+aiosqlite:///{tmp_path}/bongsu.db"
    store = await Store.open(url)
    await store.record_sighting(make_event())
    await store.close()

    def prepare_full(connection, record):
        prepare(connection, record)
        connection.cursor().execute("PRAGMA max_page_count = 1")

    prepare = database_module._prepare_sqlite
    monkeypatch.setattr(database_module, "_prepare_sqlite", prepare_full)
    full = await Store.open(url)
    with pytest.raises(StoreError, match="full"):
        for number in range(500):
            await full.record_sighting(make_event(id_=f"event-{number}", camera=f"gate-{number}" + "x" * 100))
    assert await full.incident(1) is not None
    await full.close()


async def test_box_finds_the_same_by_time_and_by_place(store, make_event, monkeypatch):
    for number in range(30):
        place = Place(lat=37 + number % 6 / 10, lon=127 + number % 5 / 10, name="Gate")
        event = make_event("gun" if number % 4 == 0 else "fire", id_=f"event-{number}", camera=f"gate-{number}")
        captured_at = event.captured_at + timedelta(seconds=number)
        await store.record_sighting(msgspec.structs.replace(event, place=place, captured_at=captured_at))
    asked = [
        {"bbox": (west, 37.05, west + 0.25, 37.35), "hazards": hazards, "since": since, "limit": limit}
        for west in (126.95, 127.15)
        for hazards in (("fire",), ("fire", "gun"), ("accident", "fire", "gun", "knife"))
        for since in (None, make_event(seconds=12).captured_at)
        for limit in (2, 100)
    ]
    by_time = [[incident.id for incident in (await store.incidents(Wanted(**query))).items] for query in asked]
    # As if the newest that are looked at were not all.
    monkeypatch.setattr(queries, "_NEWEST", 3)
    monkeypatch.setattr(queries, "_HORIZON_KEPT_S", 0)
    by_place = [[incident.id for incident in (await store.incidents(Wanted(**query))).items] for query in asked]
    assert by_time == by_place
    assert all(ids == sorted(ids, reverse=True) for ids in by_time) and max(map(len, by_time)) > 4


async def test_camera_is_found_by_hazard_and_box_too(store, make_event):
    for number, hazard in enumerate(("fire", "gun", "fire")):
        await store.record_sighting(make_event(hazard, id_=f"event-{number}", seconds=1000 * number))
    await store.record_sighting(make_event(id_="other", camera="gate-2"))

    async def ids(**query):
        return [incident.id for incident in (await store.incidents(Wanted(camera="gate-1", **query))).items]

    assert await ids() == [3, 2, 1] and await ids(hazards=("fire",)) == [3, 1] and await ids(limit=1) == [3]
    assert await ids(bbox=(126, 37, 127, 38), limit=2) == [3, 2] and await ids(bbox=(0, 0, 1, 1)) == []
