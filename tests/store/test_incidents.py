"""Queries find the right incidents, whichever index serves them."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from functions import Place
from store import Wanted, queries


async def test_incidents_are_found_by_hazard_time_place_and_camera(store, make_event):
    places = {
        "seoul": Place(37.5, 127.0, "Seoul"),
        "fiji": Place(-17.8, 179.5, "Suva"),
        "samoa": Place(-14, -172, "Apia"),
    }
    for number, (camera, place) in enumerate(places.items()):
        await store.sightings.record(make_event(id_=camera, camera=camera, place=place, seconds=60 * number))
    await store.sightings.record(make_event("gun", id_="gun", camera="seoul", place=places["seoul"], seconds=180))

    async def found(**query: object) -> list[str]:
        return [f"{item.camera} {item.hazard}" for item in (await store.incidents.find(Wanted(**query))).items]

    assert await found() == ["seoul gun", "samoa fire", "fiji fire", "seoul fire"]
    assert await found(hazards=("gun",)) == ["seoul gun"]
    assert await found(since=make_event(seconds=120).captured_at) == ["seoul gun", "samoa fire"]
    assert await found(camera="fiji") == ["fiji fire"]
    assert await found(bbox=(126, 37, 128, 38)) == ["seoul gun", "seoul fire"]
    assert await found(bbox=(170, -20, -170, 0)) == ["samoa fire", "fiji fire"]
    assert await found(limit=1) == ["seoul gun"]


async def test_box_finds_the_same_by_time_and_by_place(store, make_event, monkeypatch):
    for number in range(30):
        place = Place(lat=37 + number % 6 / 10, lon=127 + number % 5 / 10, name="Gate")
        event = make_event("gun" if number % 4 == 0 else "fire", id_=f"event-{number}", camera=f"gate-{number}")
        captured_at = event.captured_at + timedelta(seconds=number)
        await store.sightings.record(msgspec.structs.replace(event, place=place, captured_at=captured_at))
    asked = [
        {"bbox": (west, 37.05, west + 0.25, 37.35), "hazards": hazards, "since": since, "limit": limit}
        for west in (126.95, 127.15)
        for hazards in (("fire",), ("fire", "gun"), ("accident", "fire", "gun", "knife"))
        for since in (None, make_event(seconds=12).captured_at)
        for limit in (2, 100)
    ]
    by_time = [[incident.id for incident in (await store.incidents.find(Wanted(**query))).items] for query in asked]
    # As if the scan of the newest did not cover all.
    monkeypatch.setattr(queries, "_NEWEST", {"sqlite": 3, "mysql": 3})
    monkeypatch.setattr(queries, "_HORIZON_KEPT_S", 0)
    by_place = [[incident.id for incident in (await store.incidents.find(Wanted(**query))).items] for query in asked]
    assert by_time == by_place
    assert all(ids == sorted(ids, reverse=True) for ids in by_time) and max(map(len, by_time)) > 4


async def test_camera_is_found_by_hazard_and_box_too(store, make_event):
    for number, hazard in enumerate(("fire", "gun", "fire")):
        await store.sightings.record(make_event(hazard, id_=f"event-{number}", seconds=1000 * number))
    await store.sightings.record(make_event(id_="other", camera="gate-2"))

    async def ids(**query):
        return [incident.id for incident in (await store.incidents.find(Wanted(camera="gate-1", **query))).items]

    assert await ids() == [3, 2, 1] and await ids(hazards=("fire",)) == [3, 1] and await ids(limit=1) == [3]
    assert await ids(bbox=(126, 37, 127, 38), limit=2) == [3, 2] and await ids(bbox=(0, 0, 1, 1)) == []
