"""A camera has its last reported state, without text that the public must not read."""

from __future__ import annotations

from datetime import timedelta

from functions.event import utc_now


async def test_camera_keeps_the_newest_status_and_when_it_changed(store, make_event):
    await store.cameras.record(make_event("camera", seconds=10))
    await store.cameras.record(make_event("camera", seconds=5, status="lost: no route"))
    (camera,) = await store.cameras.all()
    assert (camera.status, camera.changed_at) == ("live", make_event(seconds=10).captured_at)
    revision = camera.revision
    await store.cameras.record(make_event("camera", seconds=20))
    assert (await store.cameras.all())[0].revision == revision
    await store.cameras.record(make_event("camera", seconds=30, status="lost: frozen"))
    (camera,) = await store.cameras.all()
    assert (camera.status, camera.changed_at) == ("lost: frozen", make_event(seconds=30).captured_at)


async def test_camera_whose_clock_was_ahead_is_heard_again_at_once(store, make_event):
    ahead = utc_now() + timedelta(hours=9)
    await store.cameras.record(make_event("camera", captured_at=ahead))
    await store.captions.add(make_event("captioned", hazard="fire", captured_at=ahead), "old")
    (camera,) = await store.cameras.all()
    assert camera.changed_at <= utc_now() and camera.snapshot_at <= utc_now()
    # The clock is corrected.
    await store.cameras.record(make_event("camera", id_="event-2", captured_at=utc_now(), status="lost: no route"))
    later = utc_now() + timedelta(seconds=31)
    await store.captions.add(make_event("captioned", hazard="fire", id_="event-3", captured_at=later), "new")
    (camera,) = await store.cameras.all()
    assert (camera.status, camera.snapshot_key) == ("lost: no route", "new")


async def test_address_of_a_stream_in_a_status_goes_no_further(store, make_event):
    await store.cameras.record(
        make_event("camera", status="lost: no answer from rtsp://user:secret@10.0.0.7/live in 10 s")
    )
    assert (await store.cameras.all())[0].status == "lost: no answer from (address) in 10 s"
