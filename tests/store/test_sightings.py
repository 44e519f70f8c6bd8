"""Which sightings form one incident, for any number of writers, repeats and orders."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions import Box, Detection
from functions.event import utc_now
from store import Store
from store.records import Incident


async def test_first_sighting_opens_an_incident(store, make_event):
    incident_id = await store.sightings.record(make_event())
    incident = await store.incidents.get(incident_id)
    assert (incident.hazard, incident.camera, incident.sightings, incident.confidence) == ("fire", "gate-1", 1, 0.8)
    assert incident.first_seen == incident.last_seen == make_event().captured_at
    assert incident.place == make_event().place


async def test_sighting_of_a_clock_that_is_ahead_was_now(store, make_event):
    ahead = utc_now() + timedelta(hours=9)
    first = await store.sightings.record(make_event(captured_at=ahead))
    incident = await store.incidents.get(first)
    assert incident.first_seen == incident.last_seen <= utc_now() and incident.pin_s == 0
    assert await store.sightings.record(make_event(id_="event-2", captured_at=ahead + timedelta(seconds=5))) == first
    # The clock is corrected: the same fire.
    assert await store.sightings.record(make_event(id_="event-3", captured_at=utc_now())) == first
    # Clocks of machines differ by some seconds; within that, the claimed times decide the order.
    slightly = utc_now() + timedelta(seconds=20)
    await store.sightings.record(make_event(id_="event-4", captured_at=slightly))
    assert (await store.incidents.get(first)).last_seen == slightly


async def test_sighting_within_the_quiet_period_extends_the_incident(store, make_event):
    first = await store.sightings.record(make_event())
    second = await store.sightings.record(make_event(id_="event-2", seconds=120))
    assert first == second
    incident = await store.incidents.get(first)
    assert incident.sightings == 2
    assert incident.last_seen - incident.first_seen == timedelta(seconds=120)


async def test_sighting_after_the_quiet_period_opens_another(store, make_event):
    first = await store.sightings.record(make_event())
    assert await store.sightings.record(make_event(id_="event-2", seconds=120.001)) != first


async def test_hazards_and_cameras_have_incidents_of_their_own(store, make_event):
    ids = {
        await store.sightings.record(make_event()),
        await store.sightings.record(make_event("gun")),
        await store.sightings.record(make_event(id_="event-2", camera="gate-2")),
    }
    assert len(ids) == 3


async def test_names_of_cameras_are_told_apart_by_case(store, make_event):
    first = await store.sightings.record(make_event(camera="gate"))
    assert await store.sightings.record(make_event(id_="event-2", camera="Gate")) != first


async def test_same_event_again_changes_nothing(store, make_event):
    first = await store.sightings.record(make_event())
    revision = await store.revisions.newest()
    assert await store.sightings.record(make_event()) == first
    assert await store.sightings.record(make_event("captioned", hazard="fire")) == first
    assert (await store.incidents.get(first)).sightings == 1
    assert await store.revisions.newest() == revision


async def test_late_event_joins_the_incident_it_falls_into(store, make_event):
    first = await store.sightings.record(make_event(id_="a", seconds=0))
    await store.sightings.record(make_event(id_="b", seconds=100))
    second = await store.sightings.record(make_event(id_="c", seconds=1000))
    assert await store.sightings.record(make_event(id_="d", seconds=50)) == first
    assert (await store.incidents.get(first)).last_seen - (await store.incidents.get(first)).first_seen == timedelta(
        seconds=100
    )
    assert await store.sightings.record(make_event(id_="e", seconds=900)) == second
    assert (await store.incidents.get(second)).first_seen == make_event(seconds=900).captured_at


@given(order=st.permutations(range(6)))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_event_order_does_not_change_incidents(order, make_event, tmp_path_factory):
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('order')}/bongsu.db"

    async def record() -> Incident:
        store = await Store.open(url)
        try:
            # 20 s apart: in any order, each is within the quiet period of all others.
            for number in order:
                event = make_event(id_=f"event-{number}", seconds=20 * number)
                box = Detection("fire", 0.5 + number / 20, Box(0, 0, 0.1, 0.1))
                await store.sightings.record(msgspec.structs.replace(event, detections=(box,)))
            (incident,) = (await store.incidents.find()).items
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
from functions import Box, Detection, HazardSeen, Place
from functions.event import utc_now
from datetime import datetime, UTC
from store import Store

async def main(url, worker):
    store = await Store.open(url)
    at = datetime(2026, 11, 22, 5, 3, tzinfo=UTC)
    for number in range(15):
        for name in (f"own-{worker}-{number}", f"shared-{number}"):
            event = HazardSeen(
                id=name, hazard="fire", camera="gate-1", place=Place(37.5, 127.0, "Gate"),
                captured_at=at + timedelta(seconds=number), detections=(Detection("fire", 0.5, Box(0, 0, 1, 1)),),
            )
            incident = await store.sightings.record(event)
        claim = await store.posts.claim(incident, "feed", f"own-{worker}-{number}")
        if claim.outcome == "ours":
            print("claimed", flush=True)
    await store.close()

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def test_concurrent_writers_make_one_incident_and_claim(database_url):
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, database_url, str(number)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    results = [worker.communicate(timeout=110) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, results

    async def look() -> list[int]:
        store = await Store.open(database_url)
        found = [incident.sightings for incident in (await store.incidents.find()).items]
        await store.close()
        return found

    assert asyncio.run(look()) == [4 * 15 + 15]
    assert "".join(out for out, _ in results).count("claimed") == 1


async def test_sighting_keeps_its_trace(store, make_event):
    event = make_event()
    await store.sightings.record(event, by="map", got_at=event.captured_at)
    (sighting,) = await store.sightings.of_event("event-1")
    assert [stage.name for stage in sighting.trace] == ["motion", "map"]
    assert sighting.trace[-1].done_at == sighting.recorded_at
