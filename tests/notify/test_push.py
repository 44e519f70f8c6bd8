"""Warnings by Web Push, against a push service that checks what the RFCs ask for."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest
from msgspec.structs import replace as replace_settings

from functions import Caption, Retry, utc_now
from functions.broker.memory import MemoryBroker
from functions.event import Reviewed, decode, encode
from functions.function import Reject, load_function
from functions.push_keys import new_key, public_bytes
from functions.runtime import run
from functions.settings import Secret, SettingsError, read
from functions.signature import Verifier, new_private_key, public_key_of
from functions.topology import queues
from notify.push import Push, PushBatch, ended_total, open_push, push
from notify.pushing.message import compose
from notify.pushing.sender import PublicResolver, PushSender, open_sender
from notify.pushing.settings import PushSettings
from store.push_areas import Circle
from store.push_endpoints import seal
from store.push_hours import QuietHours
from store.push_subscriptions import Wish
from tests.push_service import PushService
from tests.push_service import decode as decode_base64

SINCHON = Circle(37.5585, 126.9370, 1000)


@pytest.fixture
async def service():
    async with PushService() as service:
        yield service


@pytest.fixture
async def resources(store, snapshots, service):
    settings = PushSettings(Secret(new_key()[0]), "mailto:ops@example.org", push_allow=service.host, push_update_s=0.0)
    async with open_sender(settings) as sender:
        yield Push(store, snapshots, sender, settings)


async def subscribe(resources, browser, *, area=SINCHON, language="en", hazards=("fire",), quiet=None) -> None:
    endpoint, key = browser.endpoint, public_bytes(resources.sender.key)
    wish = Wish(hazards, area, language, quiet)
    await resources.store.push_subscriptions.put(endpoint.digest, seal(endpoint, key), wish, most=9999)


def fire(make_event, **fields):
    return make_event("captioned", hazard="fire", **({"captured_at": utc_now()} | fields))


async def warn(event, resources) -> None:
    """Both handlers, as the broker joins them."""
    for batch in await push(event, resources):
        await push(decode(encode(batch).body), resources)


async def test_subscriber_near_is_warned_in_their_language(make_event, resources, service):
    near, korean, far, gun = (service.browser(name) for name in ("near", "korean", "far", "gun"))
    await subscribe(resources, near)
    await subscribe(resources, korean, language="ko")
    await subscribe(resources, far, area=Circle(37.60, 126.9370, 1000))
    await subscribe(resources, gun, hazards=("gun",))
    await warn(fire(make_event), resources)
    (alert,) = near.received
    assert alert | {"at": 0, "image": ""} == {
        "tag": "incident-1", "state": "alert", "lang": "en", "title": "Fire · Sinchon Market", "hazard": "fire",
        "body": "Fire at Sinchon Market.", "at": 0, "url": "./?incident=1", "image": "",
    }  # fmt: skip
    assert alert["image"].startswith("api/incidents/1/snapshot?v=")
    assert korean.received[0]["title"] == "화재 · Sinchon Market" and korean.received[0]["body"] == "신촌시장에서 화재."
    assert far.received == gun.received == []
    headers = near.requests[0]
    assert (headers["TTL"], headers["Topic"], headers["Urgency"]) == ("600", "bongsu-1", "high")


async def test_same_alert_is_sent_once_then_changed_then_withdrawn(make_event, resources, service):
    browser = service.browser("a")
    await subscribe(resources, browser)
    await warn(fire(make_event, snapshot=None), resources)
    await warn(fire(make_event, snapshot=None), resources)
    await warn(fire(make_event, id_="event-2", snapshot=None), resources)
    assert [each["state"] for each in browser.received] == ["alert"]
    # The picture is ready: the same notification changes.
    await warn(fire(make_event, id_="event-3"), resources)
    await warn(fire(make_event, id_="event-3"), resources)
    assert [each["state"] for each in browser.received] == ["alert", "update"]
    assert "image" not in browser.received[0] and browser.received[1]["image"]
    await resources.store.reviews.give(1, "false_alarm", by="kim")
    await warn(Reviewed(id="r", incident=1, verdict="false_alarm", reviewed_at=utc_now()), resources)
    await warn(Reviewed(id="r", incident=1, verdict="false_alarm", reviewed_at=utc_now()), resources)
    assert [each["state"] for each in browser.received] == ["alert", "update", "withdrawn"]
    assert {each["tag"] for each in browser.received} == {"incident-1"}
    assert browser.received[2]["title"] == "False alarm: Fire · Sinchon Market"


async def test_alert_that_waits_is_withheld_after_a_review(make_event, resources, service):
    browser = service.browser("a")
    await subscribe(resources, browser)
    (batch,) = await push(fire(make_event), resources)
    await resources.store.reviews.give(1, "false_alarm", by="kim")
    await push(batch, resources)
    assert browser.received == []


async def test_quiet_hours_hold_an_alert_back(make_event, resources, service):
    browser, night = service.browser("a"), utc_now()
    begin, end = ((night + timedelta(hours=hours)).strftime("%H:%M") for hours in (-1, 1))
    await subscribe(resources, browser, quiet=QuietHours(begin, end, "UTC"))
    await warn(fire(make_event), resources)
    assert browser.received == []
    # The fire still burns when the quiet hours end.
    await subscribe(resources, browser, quiet=QuietHours(end, begin, "UTC"))
    await warn(fire(make_event, id_="event-2"), resources)
    assert len(browser.received) == 1


@pytest.mark.parametrize("status", [404, 410])
async def test_unsubscribed_browser_is_forgotten(make_event, resources, service, status):
    gone, other = service.browser("gone"), service.browser("other")
    await subscribe(resources, gone)
    await subscribe(resources, other)
    service.answers["gone"] = [(status, {})]
    await warn(fire(make_event), resources)
    assert len(other.received) == 1
    assert await resources.store.push_subscriptions.find(gone.endpoint.digest) is None
    assert await resources.store.push_subscriptions.find(other.endpoint.digest) is not None


async def test_busy_push_service_is_asked_again_when_it_said(make_event, resources, service):
    first, second = service.browser("first"), service.browser("second")
    await subscribe(resources, first)
    await subscribe(resources, second)
    service.answers["second"] = [(429, {"Retry-After": "120"})]
    (batch,) = await push(fire(make_event), resources)
    with pytest.raises(Retry, match="of 2 warnings not sent yet: 429") as retry:
        await push(batch, resources)
    assert 100 < retry.value.after_s <= 120
    # Meanwhile nothing at all is sent there.
    count = len(first.received)
    with pytest.raises(Retry, match="asked to wait"):
        await push(batch, resources)
    assert len(second.received) == 0 and len(first.received) == count
    resources.sender._blocked.clear()
    await push(batch, resources)
    assert (len(first.received), len(second.received)) == (1, 1)


async def test_failing_push_service_costs_nobody_else_an_alert(make_event, resources, service):
    browsers = [service.browser(f"b{n}") for n in range(3)]
    for browser in browsers:
        await subscribe(resources, browser)
    service.answers["b1"] = [(503, {})]
    service.answers["b2"] = [(413, {})]
    (batch,) = await push(fire(make_event), resources)
    with pytest.raises(Retry, match="1 of 3 warnings not sent yet: 503"):
        await push(batch, resources)
    await push(batch, resources)
    # What was too large would be so again: it is logged, not repeated.
    assert [len(browser.received) for browser in browsers] == [1, 1, 0]


async def test_subscription_that_fails_for_days_is_deleted(make_event, resources, service):
    dead, other = service.browser("dead"), service.browser("other")
    for browser in (dead, other):
        await subscribe(resources, browser)
    service.answers["dead"] = [(500, {})] * 9
    patient = replace(resources, settings=replace_settings(resources.settings, push_failures=2, push_failing_days=1.0))
    eager = replace(resources, settings=replace_settings(resources.settings, push_failures=3, push_failing_days=0.0))
    is_kept = []
    for number, given in enumerate((patient, patient, eager)):
        with contextlib.suppress(Retry):
            await warn(fire(make_event, id_=f"e{number}", camera=f"c{number}"), given)
        is_kept.append(await resources.store.push_subscriptions.find(dead.endpoint.digest) is not None)
    # Two failures are enough only after a day; the third ends it where no days are asked for.
    assert is_kept == [True, True, False]
    assert ended_total.labels("failing")._value.get() >= 1
    assert await resources.store.push_subscriptions.find(other.endpoint.digest) is not None


async def test_failures_of_everybody_are_nobodys_end(make_event, resources, service):
    browsers = [service.browser(name) for name in "ab"]
    eager = replace(resources, settings=replace_settings(resources.settings, push_failures=1, push_failing_days=0.0))
    for browser in browsers:
        await subscribe(resources, browser)
    for status in (403, 503):
        service.answers = {name: [(status, {})] for name in "ab"}
        with contextlib.suppress(Retry):
            await warn(fire(make_event, id_=f"e{status}", camera=f"c{status}"), eager)
    # Nor does being asked for less count.
    service.answers = {"a": [(429, {"Retry-After": "1"})]}
    with contextlib.suppress(Retry):
        await warn(fire(make_event, id_="e429", camera="c429"), eager)
    for browser in browsers:
        assert await resources.store.push_subscriptions.find(browser.endpoint.digest) is not None


async def test_many_are_sent_in_batches_with_bounded_concurrency(make_event, resources, service, monkeypatch):
    monkeypatch.setattr("notify.push._BATCH", 20)
    for number in range(45):
        await subscribe(resources, service.browser(f"b{number}"))
    service.delay_s = 0.002
    few = replace(resources, settings=replace_settings(resources.settings, push_concurrency=4))
    batches = await push(fire(make_event), few)
    assert [len(batch.subscribers) for batch in batches] == [20, 20, 5]
    for batch in batches:
        await push(batch, few)
    assert all(len(browser.received) == 1 for browser in service.browsers.values())
    assert service.busiest <= 4


async def test_relay_warns_over_a_broker(make_event, resources, service):
    browser = service.browser("a")
    await subscribe(resources, browser)
    broker, function = MemoryBroker(), load_function("notify.push")
    assert function.queues == ("captioned.push", "reviewed.push", "push.push")
    await broker.declare(queues(function.queues))
    await broker.publish(encode(fire(make_event)))
    patched = replace(function, subscriptions=(replace(function.subscriptions[0], uses=lambda: _given(resources)),))
    stopping = asyncio.Event()
    worker = asyncio.create_task(run(patched, broker, stopping))
    for _ in range(500):
        if browser.received:
            break
        await asyncio.sleep(0.02)
    stopping.set()
    await worker
    assert len(browser.received) == 1


def _given(resources):
    return contextlib.nullcontext(resources)


async def test_old_or_unsigned_alert_warns_nobody(make_event, resources, service):
    await subscribe(resources, service.browser("a"))
    assert await push(fire(make_event, captured_at=utc_now() - timedelta(hours=1)), resources) == ()
    public = public_key_of(new_private_key())
    with pytest.raises(Reject, match="signature"):
        await push(fire(make_event), replace(resources, verifier=Verifier((public,))))
    with pytest.raises(Reject, match="incident 7 is gone"):
        await push(PushBatch(id="x", incident=7, subscribers=(1,), made_at=utc_now()), resources)


async def test_without_a_key_nothing_is_opened(make_event, monkeypatch):
    monkeypatch.delenv("BONGSU_PUSH_KEY", raising=False)
    async with open_push() as resources:
        assert resources is None
        assert await push(fire(make_event), resources) == ()


def test_wrong_settings_name_the_fix(monkeypatch):
    monkeypatch.setenv("BONGSU_PUSH_KEY", new_key()[0])
    with pytest.raises(SettingsError, match=r"BONGSU_PUSH_CONTACT must be mailto:you@"):
        read(PushSettings)
    monkeypatch.setenv("BONGSU_PUSH_CONTACT", "mailto:ops@example.org")
    monkeypatch.setenv("BONGSU_PUSH_CONCURRENCY", "0")
    with pytest.raises(SettingsError, match="BONGSU_PUSH_CONCURRENCY must be 1 to 1000, got 0"):
        read(PushSettings)


async def test_name_of_a_private_address_is_not_reached(resources, service):
    class Inner(aiohttp.ThreadedResolver):
        async def resolve(self, host, port=0, family=0):
            rest = {"port": port, "family": 2, "proto": 6, "flags": 0}
            addresses = ["10.0.0.7", "93.184.216.34"] if host == "mixed.example" else ["127.0.0.1"]
            return [{"hostname": host, "host": each, **rest} for each in addresses]

    resolver = PublicResolver(frozenset({"push.test"}), Inner())
    assert [each["host"] for each in await resolver.resolve("mixed.example", 443)] == ["93.184.216.34"]
    assert [each["host"] for each in await resolver.resolve("push.test", 443)] == ["127.0.0.1"]
    with pytest.raises(OSError, match="public address"):
        await resolver.resolve("rebind.example", 443)
    browser = service.browser("a")
    browser.url = "https://rebind.example/push"
    connector = aiohttp.TCPConnector(resolver=resolver)
    async with aiohttp.ClientSession(connector=connector) as session:
        sender = PushSender(session, resources.settings)
        said = await sender.send(browser.endpoint, b"{}", topic="t", ttl_s=0, urgency="low")
        assert (said.outcome, said.reason) == ("gone", "not at a public address")
        browser.url = f"http://127.0.0.1:{int(service.host.split(':')[1]) + 1}/push"
        said = await sender.send(browser.endpoint, b"{}", topic="t", ttl_s=0, urgency="low")
        assert said.outcome == "refused" and "public" not in service.browsers


async def test_message_fits_however_long_the_caption_is(make_event, resources, service):
    browser = service.browser("a")
    await subscribe(resources, browser, language="ko")
    await warn(fire(make_event, caption=Caption(en="x" * 9000, ko="불" * 9000)), resources)
    assert browser.received[0]["body"].endswith("불…")
    incident = await resources.store.incidents.get(1)
    assert len(compose(incident, "ko", "alert")) < 3000


async def test_warning_is_in_the_language_of_the_subscriber(make_event, resources, service):
    browser = service.browser("a")
    await subscribe(resources, browser, language="ja")
    await warn(fire(make_event, caption=Caption("Fire.", "화재.", {"ja": "火災を検知しました。"})), resources)
    (message,) = browser.received
    assert (message["title"], message["body"]) == ("火災 · Sinchon Market", "火災を検知しました。")
    incident = await resources.store.incidents.get(1)
    assert "誤報: 火災" in compose(incident, "ja", "withdrawn").decode()
    # A caption from before the language was added.
    assert '"body":"Fire."' in compose(replace(incident, caption=Caption("Fire.", "화재.")), "ja", "alert").decode()
    assert "たった今" in compose(replace(incident, caption=None), "ja", "alert").decode()


def test_encryption_matches_the_example_of_the_rfc():
    """RFC 8291, appendix A."""
    import http_ece
    from cryptography.hazmat.primitives.asymmetric import ec

    sender = ec.derive_private_key(
        int.from_bytes(decode_base64("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big"), ec.SECP256R1()
    )
    body = http_ece.encrypt(
        b"When I grow up, I want to be a watermelon",
        salt=decode_base64("DGv6ra1nlYgDCS1FRnbzlw"),
        private_key=sender,
        dh=decode_base64("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
        auth_secret=decode_base64("BTBZMqHH6r4Tts7J_aSIgg"),
        version="aes128gcm",
    )
    assert body == decode_base64(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A"
        "_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
