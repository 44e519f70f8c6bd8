"""Changes come in order, each once."""

from __future__ import annotations

from functions import Caption
from store.records import Camera, Incident, Post

TEXT = Caption(en="Fire.", ko="화재.")


async def test_changes_come_in_order_each_once_and_in_pages(store, make_event):
    for number in range(5):
        await store.sightings.record(make_event(id_=f"event-{number}", camera=f"gate-{number}"))
    await store.cameras.record(make_event("camera"))
    await store.posts.claim(1, "feed", "event-0")
    await store.posts.confirm(1, "feed", text=TEXT, snapshot_key=None, reference="1")
    every = await store.revisions.changes_after(0)
    assert [type(item) for item in every.items] == [Incident] * 5 + [Camera, Post]
    assert every.revision == await store.revisions.newest()
    seen: list[int] = []
    after = 0
    while page := (await store.revisions.changes_after(after, limit=2)).items:
        seen += [item.revision for item in page]
        after = page[-1].revision
    assert seen == [item.revision for item in every.items] == sorted(set(seen))
    assert (await store.revisions.changes_after(every.revision)).items == ()


async def test_incident_and_camera_changes_are_two_revisions(store, make_event):
    await store.cameras.record(make_event("camera"))
    await store.captions.add(make_event("captioned", hazard="fire"), "key")
    every = (await store.revisions.changes_after(0)).items
    assert {type(item) for item in every} == {Incident, Camera}
    # As by a reader that is disconnected after each.
    seen: list[object] = []
    after = 0
    while page := (await store.revisions.changes_after(after, limit=1)).items:
        seen += page
        after = page[-1].revision
    assert seen == list(every)
