"""An incident shows its best sighting, in any order of arrival."""

from __future__ import annotations

from functions import Box, Caption, Detection


async def test_caption_and_picture_of_the_best_sighting_are_shown(store, make_event):
    def captioned(id_: str, confidence: float, **fields: object):
        box = Detection("fire", confidence, Box(0, 0, 0.5, 0.5))
        return make_event("captioned", hazard="fire", id_=id_, detections=(box,), **fields)

    withheld = captioned("a", 0.95, snapshot=None, caption=Caption("without picture", ""))
    incident_id = await store.captions.add(withheld, None)
    assert (await store.incidents.get(incident_id)).caption.en == "without picture"
    await store.captions.add(captioned("b", 0.6, caption=Caption("first picture", "")), "key-b")
    await store.captions.add(captioned("c", 0.9, caption=Caption("better picture", "")), "key-c")
    worse = captioned("d", 0.7, caption=Caption("worse picture", ""))
    await store.sightings.record(worse)
    assert not await store.captions.is_wanted(worse)
    await store.captions.add(worse, "key-d")
    incident = await store.incidents.get(incident_id)
    assert (incident.caption.en, incident.snapshot_key, incident.sightings) == ("better picture", "key-c", 4)


async def test_caption_and_post_keep_all_languages(store, make_event):
    text = Caption("Fire.", "화재.", {"ja": "火災。"})
    incident = await store.captions.add(make_event("captioned", hazard="fire", caption=text), None)
    assert (await store.incidents.get(incident)).caption == text
    await store.posts.claim(incident, "x", "event-1", text)
    assert (await store.posts.claim(incident, "x", "event-1")).text == text
    await store.posts.confirm(incident, "x", text=text, snapshot_key=None, reference="1")
    (post,) = await store.posts.of_incident(incident)
    assert post.text == post.incident.caption == text


async def test_caption_again_leaves_what_is_shown(store, make_event):
    captioned = make_event("captioned", hazard="fire")
    incident_id = await store.captions.add(captioned, "key")
    before = await store.incidents.get(incident_id)
    await store.captions.add(captioned, "key")
    assert await store.incidents.get(incident_id) == before
