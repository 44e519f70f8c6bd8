"""Push subscriptions: found by area, sealed at rest, sent each content once, and gone when they are gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from functions import push_keys
from functions.event import utc_now
from store import push_endpoints
from store.push_areas import Circle, Route
from store.push_endpoints import Endpoint
from store.push_hours import QuietHours
from store.push_notices import WITHDRAWN
from store.push_subscriptions import TooManyError, Wish

SINCHON = Circle(37.5585, 126.9370, 500)


def wish(area=SINCHON, hazards=("fire",), **other) -> Wish:
    return Wish(hazards, area, "en", **other)


async def subscribe(store, name: str, wanted: Wish | None = None) -> int:
    await store.push_subscriptions.put(name, f"sealed {name}", wanted or wish(), most=100)
    return (await store.push_subscriptions.find(name)).id


@pytest.mark.parametrize(
    ("area", "inside", "outside"),
    [
        (SINCHON, (37.5620, 126.9370), (37.5640, 126.9370)),
        # A leg along a street of 3.5 km, with 200 m to either side; beyond its end, and beside it.
        (Route(((37.55, 126.90), (37.55, 126.94)), 200), (37.5517, 126.92), (37.5520, 126.92)),
        (Route(((37.55, 126.90), (37.55, 126.94)), 200), (37.55, 126.9422), (37.55, 126.9424)),
        # Across the date line.
        (Circle(-17.0, 179.999, 1000), (-17.0, -179.995), (-17.0, -179.98)),
        (Route(((0.0, 179.99), (0.0, -179.99)), 100), (0.0005, 180.0), (0.002, 180.0)),
    ],
)
async def test_areas_hold_what_is_near(store, area, inside, outside):
    await subscribe(store, "a", wish(area))
    assert len(await store.push_subscriptions.around("fire", *inside)) == 1
    assert await store.push_subscriptions.around("fire", *outside) == []
    assert await store.push_subscriptions.around("gun", *inside) == []


async def test_same_endpoint_is_one_subscription(store):
    first = await subscribe(store, "a")
    assert await subscribe(store, "a", wish(hazards=("gun", "knife"))) == first
    assert (await store.push_subscriptions.find("a")).wish.hazards == ("gun", "knife")
    with pytest.raises(TooManyError):
        await store.push_subscriptions.put("b", "…", wish(), most=1)
    assert not await store.push_subscriptions.put("a", "…", wish(), most=1)
    assert await store.push_subscriptions.remove("a")
    assert not await store.push_subscriptions.remove("a")


async def test_failures_in_a_row_end_a_subscription(store):
    bad, good = [await subscribe(store, name) for name in ("bad", "good")]
    note, past, future = store.push_subscriptions.note, utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1)
    assert await note(reached=[good], failed=[bad], most=2, begun_before=future) == []
    assert await note(reached=[good, bad], failed=[], most=2, begun_before=future) == []
    # It was reached in between: one failure, two, and too soon.
    assert await note(reached=[], failed=[bad], most=2, begun_before=future) == []
    assert await note(reached=[], failed=[bad], most=2, begun_before=past) == []
    # A browser that subscribes again starts again.
    await subscribe(store, "bad")
    assert await note(reached=[], failed=[bad], most=2, begun_before=future) == []
    assert await note(reached=[], failed=[bad], most=2, begun_before=future) == [bad]
    assert [each.id for each in await store.push_subscriptions.of([bad, good])] == [good]


async def test_content_is_claimed_once_per_subscriber(store):
    ids = [await subscribe(store, name) for name in "abc"]
    notices, long_ago = store.push_notices, utc_now() - timedelta(hours=1)
    assert await notices.due(7, ids, "one", changed_before=long_ago) == ids
    assert await notices.claim(7, ids, "one", by="x") == dict.fromkeys(ids, False)
    assert await notices.claim(7, ids, "one", by="y") == {}
    assert await notices.claim(7, ids, "one", by="x") == dict.fromkeys(ids, False)
    await notices.confirm(7, ids[:2], "one")
    assert await notices.claim(7, ids, "one", by="x") == {ids[2]: False}
    assert await notices.due(7, ids, "one", changed_before=utc_now()) == ids[2:]
    # Other words are an update, but not at once.
    assert await notices.due(7, ids, "two", changed_before=long_ago) == ids[2:]
    assert await notices.due(7, ids, "two", changed_before=utc_now()) == ids
    assert await notices.claim(7, ids, "two", by="z", stale_s=0) == dict(zip(ids, [True, True, False], strict=True))
    assert (await notices.claim(7, ids, "two", by="z"))[ids[0]]
    assert list(await notices.claim(8, ids, "one", by="y")) == ids


async def test_withdrawal_is_owed_until_sent(store, make_event):
    incident = await store.sightings.record(make_event())
    ids = [await subscribe(store, name) for name in "ab"]
    await store.push_notices.claim(incident, ids, "one", by="x")
    await store.push_notices.confirm(incident, ids, "one")
    since = utc_now() - timedelta(days=1)
    assert await store.push_notices.to_withdraw(since) == []
    await store.reviews.give(incident, "false_alarm", by="kim")
    assert [each.id for each in await store.push_notices.to_withdraw(since)] == [incident]
    assert await store.push_notices.informed(incident) == ids
    await store.push_subscriptions.delete(ids[:1])
    assert await store.push_notices.claim(incident, ids, WITHDRAWN, by="y") == {ids[1]: True}
    await store.push_notices.confirm(incident, ids[1:], WITHDRAWN)
    assert await store.push_notices.to_withdraw(since) == []
    assert await store.push_notices.informed(incident) == []
    assert await store.push_notices.claim(incident, ids[1:], "two", by="z") == {}


async def test_unrenewed_subscriptions_expire(store):
    ids = [await subscribe(store, "a")]
    await store.push_notices.claim(7, ids, "one", by="x")
    assert await store.push_subscriptions.expire(utc_now() - timedelta(days=1)) == 0
    assert await store.push_subscriptions.expire(utc_now() + timedelta(days=1)) == 1
    assert await store.push_subscriptions.of(ids) == []
    assert await store.push_notices.informed(7) == []


def test_endpoint_is_read_by_the_sender_alone():
    private, public = push_keys.new_key()
    endpoint = Endpoint("https://push.example.org/v2/abc", "key", "secret")
    sealed = push_endpoints.seal(endpoint, push_keys.read_public(public))
    assert "push.example" not in sealed and sealed != push_endpoints.seal(endpoint, push_keys.read_public(public))
    assert push_endpoints.open_sealed(sealed, push_keys.read_private(private)) == endpoint
    with pytest.raises(ValueError, match="another BONGSU_PUSH_KEY"):
        push_endpoints.open_sealed(sealed, push_keys.read_private(push_keys.new_key()[0]))
    with pytest.raises(ValueError, match="make one with `bongsu key push`") as refusal:
        push_keys.read_private("hunter2")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://push.example.org/a", "https://127.0.0.1/a", "https://[::1]/a", "https://10.1.2.3/a", "https://localhost/a",
        "https://2130706433/a", "https://0x7f.1/a", "https://[::ffff:10.0.0.1]/a", "https://169.254.169.254/latest",
        "https://push.example.org:8443/a", "https://u@push.example.org/a", "https://rabbitmq/a", "https://api.bongsu.svc.local/a",
        "https://push.example.org\n/a", "https:///a", "https://[fe80::1]/a", "https://224.0.0.1/a", "file:///etc/passwd",
        "https://x:y/",
    ],
)  # fmt: skip
def test_address_that_is_not_public_https_is_refused(url):
    with pytest.raises(ValueError, match=r"^endpoint must be") as refusal:
        push_endpoints.require_address(url)
    assert "/a" not in str(refusal.value)


def test_named_exceptions_are_allowed():
    push_endpoints.require_address("https://fcm.googleapis.com/fcm/send/abc")
    push_endpoints.require_address("http://127.0.0.1:21400/a", {"127.0.0.1:21400"})
    with pytest.raises(ValueError, match="port 443"):
        push_endpoints.require_address("http://127.0.0.1:21401/a", {"127.0.0.1:21400"})


def test_quiet_hours_follow_the_readers_clock():
    night = QuietHours("22:00", "07:00", "Asia/Seoul")
    assert night.hold(datetime(2026, 3, 2, 13, 0, tzinfo=UTC))  # 22:00 in Seoul
    assert night.hold(datetime(2026, 3, 2, 21, 59, tzinfo=UTC))
    assert not night.hold(datetime(2026, 3, 2, 22, 0, tzinfo=UTC))
    # The same wall clock in summer and winter.
    noon = QuietHours("12:00", "13:00", "Europe/Berlin")
    assert noon.hold(datetime(2026, 7, 1, 10, 30, tzinfo=UTC)) and not noon.hold(
        datetime(2026, 1, 1, 10, 30, tzinfo=UTC)
    )
    for begin, end, zone in (("22:00", "07:00", "Mars/Base"), ("22:00", "22:00", "UTC"), ("1:00", "2:00", "../etc")):
        with pytest.raises(ValueError, match=r"timezone|another time"):
            QuietHours(begin, end, zone)
