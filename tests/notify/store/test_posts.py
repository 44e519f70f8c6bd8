"""A claim is given once, taken over where its worker died, and ends with its post."""

from __future__ import annotations

from functions import Caption

TEXT = Caption(en="Fire.", ko="화재.")


async def test_claim_is_given_once_and_ends_with_its_post(store, make_event):
    incident = await store.sightings.record(make_event())
    assert (await store.posts.claim(incident, "feed", "event-1")).outcome == "ours"
    assert (await store.posts.claim(incident, "feed", "event-2")).outcome == "busy"
    assert (await store.posts.claim(incident, "elsewhere", "event-2")).outcome == "ours"
    await store.posts.confirm(incident, "feed", text=TEXT, snapshot_key=None, reference="1")
    assert (await store.posts.claim(incident, "feed", "event-1")).outcome == "posted"
    assert (await store.posts.claim(incident, "feed", "event-2", stale_s=0)).outcome == "posted"


async def test_claim_of_a_dead_worker_is_resumed_by_its_own_event_or_once_it_is_stale(store, make_event):
    incident = await store.sightings.record(make_event())
    assert (await store.posts.claim(incident, "feed", "event-1")).outcome == "ours"
    assert (await store.posts.claim(incident, "feed", "event-1")).outcome == "ours"
    assert (await store.posts.claim(incident, "feed", "event-2", stale_s=0)).outcome == "ours"
    assert (await store.posts.claim(incident, "feed", "event-1")).outcome == "busy"


async def test_released_claim_is_free_for_any_event(store, make_event):
    incident = await store.sightings.record(make_event())
    mine = await store.posts.claim(incident, "feed", "event-1")
    busy = await store.posts.claim(incident, "feed", "event-3")
    await store.posts.release(incident, "feed", busy)
    assert (await store.posts.claim(incident, "feed", "event-3")).outcome == "busy"
    await store.posts.release(incident, "feed", mine)
    assert (await store.posts.claim(incident, "feed", "event-3")).outcome == "ours"


async def test_claim_that_another_attempt_took_over_is_not_given_back(store, make_event):
    incident = await store.sightings.record(make_event())
    first = await store.posts.claim(incident, "feed", "event-1", TEXT)
    # The broker delivered the event again while the first attempt was still at it.
    second = await store.posts.claim(incident, "feed", "event-1", Caption(en="Other.", ko="다른."))
    for attempt in (first, second):
        await store.posts.release(incident, "feed", attempt)
    claim = await store.posts.claim(incident, "feed", "event-1")
    assert (claim.outcome, claim.text) == ("ours", TEXT)


async def test_post_is_seen_only_when_confirmed_and_the_first_confirmation_stays(store, make_event):
    incident = await store.sightings.record(make_event())
    await store.posts.claim(incident, "feed", "event-1")
    assert await store.posts.newest() == []
    await store.posts.confirm(incident, "feed", text=TEXT, snapshot_key="key", reference="1")
    await store.posts.confirm(incident, "feed", text=Caption("other", "other"), snapshot_key=None, reference="2")
    (post,) = await store.posts.newest()
    assert (post.text, post.snapshot_key, post.reference, post.event_id) == (TEXT, "key", "1", "event-1")
    assert post.incident.id == incident
