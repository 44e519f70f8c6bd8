"""A claim is granted once, taken over where its worker died, and ends with its post."""

from __future__ import annotations

from datetime import timedelta

from functions import Caption
from functions.event import utc_now

TEXT = Caption(en="Fire.", ko="화재.")


async def test_claim_is_given_once_and_ends_with_its_post(store, make_event):
    incident = await store.sightings.record(make_event())
    assert (await store.posts.claim(incident, "feed", "event-1")).outcome == "ours"
    assert (await store.posts.claim(incident, "feed", "event-2")).outcome == "busy"
    assert (await store.posts.claim(incident, "elsewhere", "event-2")).outcome == "ours"
    await store.posts.confirm(incident, "feed", text=TEXT, snapshot_key=None, reference="1")
    assert (await store.posts.claim(incident, "feed", "event-1")).outcome == "posted"
    assert (await store.posts.claim(incident, "feed", "event-2", stale_s=0)).outcome == "posted"


async def test_stale_claim_of_a_dead_worker_is_resumed(store, make_event):
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
    # The broker redelivered the event while the first attempt was still running.
    second = await store.posts.claim(incident, "feed", "event-1", Caption(en="Other.", ko="다른."))
    for attempt in (first, second):
        await store.posts.release(incident, "feed", attempt)
    claim = await store.posts.claim(incident, "feed", "event-1")
    assert (claim.outcome, claim.text) == ("ours", TEXT)


async def test_post_is_seen_only_when_confirmed(store, make_event):
    incident = await store.sightings.record(make_event())
    await store.posts.claim(incident, "feed", "event-1")
    assert await store.posts.newest() == []
    await store.posts.confirm(incident, "feed", text=TEXT, snapshot_key="key", reference="1")
    await store.posts.confirm(incident, "feed", text=Caption("other", "other"), snapshot_key=None, reference="2")
    (post,) = await store.posts.newest()
    assert (post.text, post.snapshot_key, post.reference, post.event_id) == (TEXT, "key", "1", "event-1")
    assert post.incident.id == incident


async def test_missing_alert_is_counted_on_its_channel_only(store, make_event, monkeypatch):
    now = utc_now()

    def ago(hours):
        return now - timedelta(hours=hours)

    async def record(number, hours_ago):
        seen = make_event(id_=f"event-{number}", camera=f"gate-{number}", captured_at=ago(hours_ago))
        return await store.sightings.record(seen)

    async def post(incident, *channels):
        for channel in channels:
            await store.posts.claim(incident, channel, f"event-{incident}")
            await store.posts.confirm(incident, channel, text=TEXT, snapshot_key=None, reference="1")

    old, posted, begun, later = [await record(n, h) for n, h in enumerate((30, 3, 2, 1))]
    assert await store.posts.missing(ago(24), now) == {}
    monkeypatch.setattr("store.posts.utc_now", lambda: ago(1.5))
    await post(old, "x")
    await post(posted, "feed", "x")
    await store.posts.claim(begun, "x", "event-2")
    # A channel must post what was seen after its first claim, and what it claimed.
    assert await store.posts.missing(ago(24), now) == {"feed": [later], "x": [begun, later]}
    assert await store.posts.missing(ago(24), ago(1.2)) == {"feed": [], "x": [begun]}
    await post(begun, "x")
    await store.reviews.give(later, "false_alarm", by="operator")
    assert await store.posts.missing(ago(24), now) == {"feed": [], "x": []}
