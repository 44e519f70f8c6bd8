"""An alert that is held: by which sightings, until which decision, and what is published then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions import Box, Caption, Detection, utc_now
from store import Store, Wanted


@pytest.fixture
async def each_store(any_database_url):
    opened = await Store.open(any_database_url)
    yield opened
    await opened.close()


@pytest.fixture
def captioned(make_event):
    def make(id_: str = "a", confidence: float = 0.8, **fields: object):
        box = Detection("fire", confidence, Box(0, 0, 0.5, 0.5))
        caption = Caption(f"Fire {id_}.", f"화재 {id_}.")
        return make_event("captioned", hazard="fire", id_=id_, detections=(box,), caption=caption, **fields)

    return make


async def held_ids(store: Store) -> list[int]:
    return [incident.id for incident in (await store.incidents.find(Wanted(statuses=frozenset({"held"})))).items]


async def test_held_incident_is_neither_open_nor_closed(store, captioned):
    number = await store.captions.add(captioned(captured_at=utc_now()), "key", held=b"alert")
    incident = await store.incidents.get(number)
    assert incident.is_held and incident.review is None and incident.caption.en == "Fire a."
    assert not incident.is_open(utc_now(), 120)
    assert await held_ids(store) == [number] and await store.held.count() == 1
    for statuses in ({"open"}, {"closed"}, {"open", "closed"}, {"acknowledged"}, {"false_alarm"}):
        assert (await store.incidents.find(Wanted(statuses=frozenset(statuses)))).items == ()
    assert len((await store.incidents.find()).items) == 1
    assert await store.reviews.given() == [] and await store.held.to_publish() == []
    assert await store.posts.missing(utc_now() - timedelta(days=1), utc_now()) == {}


async def test_another_sighting_that_passed_lifts_it(store, captioned):
    number = await store.captions.add(captioned("a", 0.9), "key-a", held=b"alert")
    passed = captioned("b", 0.4, seconds=2)
    assert await store.captions.is_wanted(passed)
    assert await store.captions.add(passed, "key-b") == number
    incident = await store.incidents.get(number)
    assert not incident.is_held and (incident.caption.en, incident.snapshot_key) == ("Fire b.", "key-b")
    # What comes late, or again, holds it no more.
    await store.captions.add(captioned("a", 0.9), "key-a", held=b"alert")
    await store.captions.add(captioned("c", 0.95, seconds=3), "key-c", held=b"alert")
    incident = await store.incidents.get(number)
    assert not incident.is_held and incident.caption.en == "Fire b." and incident.sightings == 3
    await store.reviews.give(number, "acknowledged", by="kim")
    assert await store.held.to_publish() == []


async def test_released_alert_is_published_once(each_store, captioned):
    store, first = each_store, captioned("a")
    number = await store.captions.add(first, "key", held=b"first")
    await store.captions.add(captioned("b", 0.95, seconds=1), "key-b", held=b"second")
    assert not await store.held.is_released(first)
    incident = await store.reviews.give(number, "acknowledged", by="kim")
    assert not incident.is_held and incident.review.by == "kim"
    (owed,) = await store.held.to_publish()
    assert (owed.incident_id, owed.event_id, owed.alert) == (number, "a", b"first")
    assert await store.held.is_released(first)
    for _ in range(2):
        await store.held.mark_published(number)
    assert await store.held.to_publish() == [] and await store.held.is_released(first)
    # It came back through the broker.
    await store.captions.add(first, "key")
    assert (await store.incidents.get(number)).review.verdict == "acknowledged"


async def test_rejected_alert_is_never_published(store, captioned):
    number = await store.captions.add(captioned("a", captured_at=utc_now()), "key", held=b"alert")
    assert (await store.reviews.give(number, "false_alarm", by="kim")).is_false_alarm
    assert await store.held.to_publish() == [] and await store.held.count() == 0
    (given,) = await store.reviews.given()
    assert given[0].id == number
    # The next sighting is another incident, and is held again.
    again = captioned("b", captured_at=utc_now() + timedelta(seconds=1))
    assert await store.captions.add(again, "key", held=b"alert") != number
    assert await store.held.count() == 1


async def test_review_that_is_withdrawn_holds_it_again(store, captioned):
    number = await store.captions.add(captioned(), "key", held=b"alert")
    held = await store.incidents.get(number)
    # There is no review to withdraw: it stays held.
    assert await store.reviews.withdraw(number) == held
    for verdict in ("false_alarm", "acknowledged"):
        await store.reviews.give(number, verdict, by="kim")
        assert (await store.reviews.withdraw(number)).is_held
    assert await store.held.to_publish() == []
    await store.reviews.give(number, "acknowledged", by="kim")
    await store.held.mark_published(number)
    # It is out: that cannot be undone.
    withdrawn = await store.reviews.withdraw(number)
    assert not withdrawn.is_held and withdrawn.review is None


async def test_alert_that_went_out_is_not_held(store, captioned):
    number = await store.captions.add(captioned("a"), "key-a")
    await store.captions.add(captioned("b", 0.99, seconds=1), "key-b", held=b"alert")
    incident = await store.incidents.get(number)
    assert not incident.is_held and incident.caption.en == "Fire a." and await store.held.count() == 0


async def test_old_alerts_expire_and_unreviewed_ones_are_counted(store, captioned):
    first = await store.captions.add(captioned("a"), "key", held=b"alert")
    await store.captions.add(captioned("b", camera="gate-2"), "key", held=b"alert")
    await store.reviews.give(first, "acknowledged", by="kim")
    assert await store.held.expire(utc_now() - timedelta(days=1)) == 0
    assert await store.held.expire(utc_now() + timedelta(days=1)) == 1
    assert await store.held.to_publish() == []


async def test_a_large_alert_is_kept_whole(each_store, captioned):
    alert = bytes(range(256)) * 4000
    number = await each_store.captions.add(captioned(), "key", held=alert)
    await each_store.reviews.give(number, "acknowledged", by="kim")
    assert (await each_store.held.to_publish())[0].alert == alert
