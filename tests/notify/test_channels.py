"""X, Mastodon and webhook against servers that keep the documented rules: one alert, one post, whatever goes wrong."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import time
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import aiohttp
import pytest
import standardwebhooks
from structlog.testing import capture_logs

from functions import Caption, Retry, encode
from functions.broker import connect
from functions.event import utc_now
from functions.settings import Secret, SettingsError, read
from functions.signature import Signer
from functions.topology import queues
from notify import channels
from notify.captions.location import draw_location
from notify.channels import ChannelContext, ChannelError, UnknownOutcomeError, mastodon
from notify.channels.mastodon import Mastodon, MastodonSettings
from notify.channels.webhook import Webhook, WebhookSettings, read_secret, sign
from notify.channels.x import X, XSettings
from notify.post import PosterResources, post
from notify.posting import pictures
from notify.posting import settings as environment
from notify.posting.http import Answer, RateLimitWait, read_limit
from notify.posting.opening import find_channel, list_channels, open_channels
from store import Store
from tests.doubles import MastodonDouble, WebhookDouble, XDouble

KEYS = ("api-key-1", "api-secret-2", "access-token-3", "access-secret-4")
X_PARTS = ("API_KEY", "API_SECRET", "ACCESS_TOKEN", "ACCESS_SECRET")
TOKEN = "mastodon-token-5"
SECRET = base64.b64encode(b"webhook secret six, long enough").decode()
BOTH = ("ko", "en")


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as opened:
        yield opened


@pytest.fixture
async def x_server():
    async with XDouble(KEYS) as double:
        yield double


@pytest.fixture
async def mastodon_server():
    async with MastodonDouble(TOKEN) as double:
        yield double


@pytest.fixture
async def webhook_server():
    async with WebhookDouble(b"webhook secret six, long enough") as double:
        yield double


@pytest.fixture(params=["x", "mastodon", "webhook"])
def pair(request, session):
    """A channel and its double: every promise is kept by all three."""
    double = request.getfixturevalue(f"{request.param}_server")
    return open_channel(request.param, session, double), double


def open_channel(name, session, double):
    context = ChannelContext(BOTH, session)
    if name == "x":
        return X(XSettings(*map(Secret, KEYS), double.url), context)
    if name == "mastodon":
        return Mastodon(MastodonSettings(Secret(double.url), Secret(TOKEN)), context)
    return Webhook(WebhookSettings(Secret(f"{double.url}/hook"), Secret(f"whsec_{SECRET}")), context)


@pytest.fixture
def captioned(make_event):
    def make(**fields):
        return make_event("captioned", hazard="fire", **fields)

    return make


@pytest.fixture
def desk_of(store, snapshots):
    return lambda *channels: PosterResources(store, snapshots, channels)


def forget(channel):
    """As a restarted replica: it does not know limits and failures."""
    channel._pace = RateLimitWait()


async def test_alert_is_posted_once_with_picture_and_both_languages(pair, store, snapshots, captioned, street):
    channel, double = pair
    desk = PosterResources(store, snapshots, (channel,))
    await post(captioned(), desk)
    await post(captioned(id_="event-2", seconds=5), desk)
    (out,) = double.posts
    (kept,) = await store.posts.newest(channel.name)
    if channel.name == "webhook":
        assert out["text"] == {"en": "Fire at Sinchon Market.", "ko": "신촌시장에서 화재."}
        assert base64.b64decode(out["snapshot"]["base64"]) == street
        assert out["incident"]["place"]["name"] == "Sinchon Market" and out["incident"]["hazard"] == "fire"
    else:
        assert out["text"].startswith("신촌시장에서 화재.\nFire at Sinchon Market.")
        (media,) = out["media"]
        assert media["jpeg"] == street and media["alt"] == "신촌시장에서 화재.\nFire at Sinchon Market."
        assert out["id"] in kept.reference


async def test_alert_without_a_picture_is_posted(pair, store, snapshots, captioned):
    channel, double = pair
    await post(captioned(snapshot=None), PosterResources(store, snapshots, (channel,)))
    assert len(double.posts) == 1 and not double.posts[0].get("media") and not double.posts[0].get("snapshot")


async def test_same_incident_number_elsewhere_is_another_alert(pair, tmp_path, snapshots, captioned):
    channel, double = pair
    # Two installations with one account or receiver, or one before and after its database was read back.
    for number, words in enumerate(("Fire at Sinchon Market. 14:03 UTC.", "Fire at Mapo Bridge. 09:12 UTC.")):
        store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/{number}.db")
        event = captioned(caption=Caption(en=words, ko=""))
        await post(event, PosterResources(store, snapshots, (channel,)))
        (kept,) = await store.posts.newest(channel.name)
        assert kept.incident.id == 1
        await store.close()
    assert len(double.posts) == 2


async def test_location_map_is_the_second_picture(pair, store, snapshots, captioned, street):
    channel, double = pair
    drawn = draw_location(captioned().place, None).jpeg
    await post(captioned(location=drawn), PosterResources(store, snapshots, (channel,)))
    (out,) = double.posts
    if channel.name == "webhook":
        assert base64.b64decode(out["location"]["base64"]) == drawn
    else:
        assert [media["jpeg"] for media in out["media"]] == [street, drawn]
        (kept,) = await store.posts.newest(channel.name)
        assert (await snapshots.get(kept.location_key)).jpeg == drawn
        assert "Map with a pin at Sinchon Market: 37.5585°N, 126.9370°E." in out["media"][1]["alt"]


async def test_map_alone_goes_out_where_the_picture_was_withheld(pair, store, snapshots, captioned):
    channel, double = pair
    drawn = draw_location(captioned().place, None).jpeg
    await post(captioned(snapshot=None, location=drawn), PosterResources(store, snapshots, (channel,)))
    (out,) = double.posts
    assert out.get("snapshot") is None and (out.get("location") or len(out["media"]) == 1)


@pytest.mark.parametrize("fault", ["html-503", "json-500", "cut", "cut-after", "slow"])
async def test_failure_in_mid_post_ends_in_one_post(pair, store, snapshots, captioned, fault):
    channel, double = pair
    double.faults, double.slow_s = [fault], 1.5
    desk = PosterResources(store, snapshots, (channel,))
    with pytest.raises(Retry, match=channel.name) as retry:
        await post(captioned(), desk)
    assert retry.value.after_s >= 4 and "secret" not in str(retry.value)
    # Until an attempt tells, it is unknown whether the post is out: no other event may post other words.
    await post(captioned(id_="event-2", seconds=5, caption=Caption(en="Other words.", ko="다른 말.")), desk)
    assert double.requests == 1
    forget(channel)
    await post(captioned(caption=Caption(en="Yet other words.", ko="또 다른 말.")), desk)
    assert len(double.posts) == 1 and "Sinchon" in str(double.posts[0]["text"])
    assert len(await store.posts.newest(channel.name)) == 1


@pytest.mark.parametrize("refusal", ["rate limit", "away", "asked to wait"])
async def test_retried_post_keeps_its_words(pair, desk_of, captioned, monkeypatch, refusal):
    channel, double = pair
    desk = desk_of(channel)
    store = desk.store
    double.faults = ["cut-after"]
    with pytest.raises(Retry):
        await post(captioned(), desk)
    # That the second attempt did not go out says nothing of the first.
    if refusal != "asked to wait":
        forget(channel)
    if refusal == "rate limit":
        double.faults = [double.limited(60)]
    elif refusal == "away":
        await double.go_away()
    with pytest.raises(Retry):
        await post(captioned(), desk)
    if refusal == "away":
        await double.come_back()
    forget(channel)
    claim = type(store.posts).claim
    monkeypatch.setattr(type(store.posts), "claim", lambda *a, **k: claim(*a, **k, stale_s=0))
    await post(captioned(id_="event-2", seconds=5, caption=Caption(en="Other words.", ko="다른 말.")), desk)
    assert len(double.posts) == 1
    assert (await store.posts.newest(channel.name))[0].text.en == "Fire at Sinchon Market."


async def test_page_of_a_proxy_is_no_post(session, x_server, mastodon_server, captioned):
    for channel, double in (
        (open_channel("x", session, x_server), x_server),
        (open_channel("mastodon", session, mastodon_server), mastodon_server),
    ):
        double.faults = ["html-200"]
        with pytest.raises(UnknownOutcomeError, match=r"has no id of a post|could not be read"):
            await channel.post(await _incident(captioned), Caption(en="Fire.", ko=""), None, "key")


async def test_crash_after_post_leaves_one_post_for_other_events(pair, store, snapshots, captioned, monkeypatch):
    channel, double = pair
    desk = PosterResources(store, snapshots, (channel,))
    with monkeypatch.context() as patch:

        async def crash(*_: object, **__: object) -> None:
            raise RuntimeError("the power went out")

        patch.setattr(store.posts, "confirm", crash)
        with pytest.raises(RuntimeError):
            await post(captioned(), desk)
    assert len(double.posts) == 1
    claim = type(store.posts).claim
    monkeypatch.setattr(type(store.posts), "claim", lambda *a, **k: claim(*a, **k, stale_s=0))
    await post(captioned(id_="event-2", seconds=5, caption=Caption(en="Other words.", ko="다른 말.")), desk)
    assert len(double.posts) == 1
    (kept,) = await store.posts.newest(channel.name)
    assert kept.text.en == "Fire at Sinchon Market."


async def test_refusal_releases_the_claim_and_leaks_no_secret(session, store, snapshots, captioned, pair):
    channel, double = pair
    double.faults = [(401, {})]
    with capture_logs() as logs, pytest.raises(Retry, match="401 as set") as retry:
        await post(captioned(), PosterResources(store, snapshots, (channel,)))
    assert retry.value.after_s == 300
    texts = f"{retry.value} {retry.value.__cause__!r} {logs}"
    assert not any(secret in texts for secret in (*KEYS, TOKEN, SECRET))
    await post(captioned(id_="event-2", seconds=5), PosterResources(store, snapshots, (channel,)))
    assert len(double.posts) == 1


async def test_wrong_credentials_are_refused_by_the_server(
    session, x_server, mastodon_server, webhook_server, captioned
):
    context = ChannelContext(BOTH, session)
    wrong_secret = base64.b64encode(b"a wrong secret, long enough").decode()
    wrong = (
        X(XSettings(*map(Secret, (*KEYS[:3], "wrong-secret")), x_server.url), context),
        Mastodon(MastodonSettings(Secret(mastodon_server.url), Secret("wrong-token")), context),
        Webhook(
            WebhookSettings(Secret(f"{webhook_server.url}/hook"), Secret(wrong_secret)),
            context,
        ),
    )
    incident = await _incident(captioned)
    for channel in wrong:
        with pytest.raises(ChannelError, match="refused: 401") as error:
            await channel.post(incident, Caption(en="Fire.", ko="화재."), None, "key")
        assert "wrong" not in str(error.value)


async def test_rate_limit_is_waited_for_and_nothing_is_sent_meanwhile(pair, store, snapshots, captioned):
    channel, double = pair
    reset = int(time.time()) + 600
    if channel.name == "mastodon":
        at = (utc_now() + timedelta(seconds=600)).isoformat()
        double.faults = [(429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at})]
    elif channel.name == "x":
        double.faults = [(429, {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(reset)})]
    else:
        double.faults = [(429, {"Retry-After": "600"})]
    desk = PosterResources(store, snapshots, (channel,))
    for _ in range(2):
        with pytest.raises(Retry) as retry:
            await post(captioned(), desk)
        assert 590 < retry.value.after_s < 730
    assert double.requests == 1 and double.posts == []


@pytest.mark.parametrize("name", ["x", "mastodon"])
async def test_last_allowed_post_blocks_the_next_before_it_is_refused(name, session, captioned):
    async with XDouble(KEYS, limit=2) if name == "x" else MastodonDouble(TOKEN, limit=2) as double:
        channel, incident = open_channel(name, session, double), await _incident(captioned)
        for number in range(2):
            await channel.post(incident, Caption(en=f"Fire {number}.", ko=""), None, f"key-{number}")
        with pytest.raises(ChannelError, match="rate limit") as error:
            await channel.post(incident, Caption(en="Fire 3.", ko=""), None, "key-3")
        assert error.value.after_s > 800 and double.requests == 2


async def test_unreachable_server_is_retried_ever_less_often(pair, captioned, monkeypatch):
    channel, double = pair
    incident = await _incident(captioned)
    await double.__aexit__()
    waits = []
    for _ in range(3):
        with pytest.raises(ChannelError, match="cannot connect") as error:
            await channel.post(incident, Caption(en="Fire.", ko=""), None, "key")
        assert not isinstance(error.value, UnknownOutcomeError)
        waits.append(error.value.after_s)
        channel._pace._blocked_until = 0.0
    assert 4 < waits[0] < waits[1] < waits[2]


async def test_channel_that_hangs_holds_up_no_other(session, x_server, mastodon_server, desk_of, captioned):
    x_server.faults, x_server.slow_s = ["slow"], 5
    channels = (open_channel("x", session, x_server), open_channel("mastodon", session, mastodon_server))
    with pytest.raises(Retry, match="x: no answer"):
        await post(captioned(), desk := desk_of(*channels))
    assert len(mastodon_server.posts) == len(await desk.store.posts.newest("mastodon")) == 1


async def test_channel_that_may_not_be_asked_yet_delays_no_other(session, x_server, webhook_server, desk_of, captioned):
    x_server.faults = [(429, {"x-rate-limit-reset": str(int(time.time()) + 900)})]
    webhook_server.faults = ["html-503"]
    desk = desk_of(open_channel("x", session, x_server), open_channel("webhook", session, webhook_server))
    with pytest.raises(Retry, match=r"x: .*webhook: ") as retry:
        await post(captioned(), desk)
    assert retry.value.after_s < 10


async def test_x_never_gets_a_link_a_mention_or_more_than_280(session, x_server, store, snapshots, captioned):
    channel = open_channel("x", session, x_server)
    ko = "경부고속도로 gate.kr https://a.example/b?c 부근에서 사고가 감지되었습니다. " * 6
    en = "Accident near gate.kr, http://x.example and @police. Smoke \U0001f525\U0001f525 is seen. " * 6
    await post(captioned(caption=Caption(en=en, ko=ko)), PosterResources(store, snapshots, (channel,)))
    (out,) = x_server.posts
    assert x_server.billed_usd == 0.015
    assert "@" not in out["text"] and "://" not in out["text"] and out["text"].endswith(" [1]")


@pytest.mark.parametrize("status", [503, 401, 429])
async def test_words_go_out_alone_where_x_takes_no_picture(session, x_server, desk_of, captioned, status):
    x_server.upload_faults = [status]
    await post(captioned(), desk_of(open_channel("x", session, x_server)))
    assert x_server.posts[0]["media"] == []


async def test_words_go_out_alone_where_x_has_lost_the_picture(session, x_server, desk_of, captioned):
    x_server.is_losing_media = True
    await post(captioned(), desk_of(open_channel("x", session, x_server)))
    assert len(x_server.media) == 1 and x_server.posts[0]["media"] == []


async def test_mastodon_posts_without_a_picture_that_never_gets_ready(
    session, mastodon_server, desk_of, captioned, monkeypatch
):
    monkeypatch.setattr(mastodon, "_PROCESSING_WAITS_S", (0.01,) * 6)
    channel = open_channel("mastodon", session, mastodon_server)
    mastodon_server.looks_until_ready = 2
    await post(captioned(), desk_of(channel))
    assert len(mastodon_server.posts[0]["media"]) == 1
    mastodon_server.looks_until_ready = 99
    await post(captioned(id_="later", seconds=1000), desk_of(channel))
    assert mastodon_server.posts[1]["media"] == []


async def test_mastodon_posts_as_much_as_its_server_takes(session, mastodon_server, desk_of, captioned):
    long = Caption(en="Smoke is seen. " * 60, ko="연기가 보입니다. " * 60)
    mastodon_server.limits = {"statuses": {"max_characters": 1200}, "media_attachments": {"image_size_limit": 1000}}
    desk = desk_of(open_channel("mastodon", session, mastodon_server))
    await post(captioned(caption=long), desk)
    await post(captioned(id_="later", seconds=1000, caption=long), desk)
    assert all(1000 < len(out["text"]) <= 1200 and out["media"] == [] for out in mastodon_server.posts)
    assert mastodon_server.instance_requests == 1 and mastodon_server.media == {}


async def test_old_mastodon_has_the_usual_limits(session, mastodon_server, desk_of, captioned):
    long = Caption(en="Smoke is seen. " * 60, ko="연기가 보입니다. " * 60)
    desk = desk_of(open_channel("mastodon", session, mastodon_server))
    await post(captioned(caption=long), desk)
    await post(captioned(id_="later", seconds=1000, caption=long), desk)
    assert all(400 < len(out["text"]) <= 500 for out in mastodon_server.posts) and len(mastodon_server.posts) == 2
    assert mastodon_server.instance_requests == 1


def test_limits_that_make_no_sense_are_passed_over():
    odd = {"statuses": {"max_characters": -1}, "media_attachments": "none"}
    assert mastodon.read_limits({"configuration": odd}) == mastodon.read_limits({}) == mastodon.Limits()


async def test_mastodon_posts_without_a_picture_that_is_broken(session, mastodon_server, desk_of, captioned):
    mastodon_server.looks_until_ready, mastodon_server.is_broken_media = 2, True
    drawn = draw_location(captioned().place, None).jpeg
    await post(captioned(location=drawn), desk_of(open_channel("mastodon", session, mastodon_server)))
    # The words are not sent in vain first: such a post would be refused.
    assert mastodon_server.requests == 1 and mastodon_server.posts[0]["media"] == []


async def test_words_go_out_alone_when_mastodon_is_slow(session, mastodon_server, desk_of, captioned, monkeypatch):
    monkeypatch.setattr(pictures, "_SNAPSHOT_S", 0.2)
    # Each look is within its own limit, but all of them together are not within the channel's.
    monkeypatch.setattr("notify.post._CHANNEL_S", 2.0)
    mastodon_server.looks_until_ready, mastodon_server.look_s = 99, 1.0
    await post(captioned(), desk_of(open_channel("mastodon", session, mastodon_server)))
    assert mastodon_server.posts[0]["media"] == []


async def test_redirect_is_not_followed(session, webhook_server, captioned):
    webhook_server.faults = [(307, {"Location": "http://127.0.0.1:9/"})]
    channel = open_channel("webhook", session, webhook_server)
    with pytest.raises(ChannelError, match="refused: 307"):
        await channel.post(await _incident(captioned), Caption(en="Fire.", ko=""), None, "key")


async def test_alert_that_is_too_old_is_on_the_map_alone(store, snapshots, captioned, webhook_server, session):
    desk = PosterResources(store, snapshots, (open_channel("webhook", session, webhook_server),), max_age_s=600)
    with capture_logs() as logs:
        await post(captioned(), desk)
    assert webhook_server.requests == 0 and (await store.incidents.get(1)).sightings == 1
    assert [line["event"] for line in logs] == ["alert_too_old"]
    await post(captioned(id_="new", captured_at=utc_now() - timedelta(seconds=500)), desk)
    assert len(webhook_server.posts) == 1


def test_limits_are_read_in_all_their_forms():
    now = time.time()

    def limit(status, **headers):
        until = read_limit(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, {}))
        return None if until is None else round(until - now)

    reset = str(int(now) + 100)
    assert limit(200, x_rate_limit_remaining="5", x_rate_limit_reset=reset) is None
    assert limit(201, x_rate_limit_remaining="0", x_rate_limit_reset=reset) in (99, 100)
    assert limit(429, x_rate_limit_reset=reset) in (99, 100)
    assert limit(429, x_rate_limit_remaining="7", x_rate_limit_reset=reset) is None
    day = str(int(now) + 5000)
    daily = {"x_user_limit_24hour_remaining": "0", "x_user_limit_24hour_reset": day}
    assert limit(429, x_rate_limit_remaining="7", x_rate_limit_reset=reset, **daily) in (4999, 5000)
    assert limit(429, Retry_After="30") == 30
    assert limit(429, Retry_After=format_datetime(utc_now() + timedelta(seconds=60))) in (59, 60, 61)
    assert limit(429, Retry_After="soon", x_rate_limit_reset="-1") is None


@pytest.fixture
def clean(monkeypatch):
    for name in ("BONGSU_CHANNELS", *(f"BONGSU_X_{part}" for part in ("API_KEY", "API_SECRET"))):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


async def test_feed_is_on_by_default(clean):
    async with open_channels(environment.load()) as channels:
        assert [channel.name for channel in channels] == ["feed"]


async def test_channels_read_environment_and_secret_files(clean, tmp_path):
    clean.setenv("BONGSU_CHANNELS", "feed, x,mastodon,webhook")
    for name, value in zip(X_PARTS, KEYS, strict=True):
        (tmp_path / name).write_text(f"{value}\n")
        clean.setenv(f"BONGSU_X_{name}_FILE", str(tmp_path / name))
    clean.setenv("BONGSU_MASTODON_URL", "https://social.example")
    clean.setenv("BONGSU_MASTODON_TOKEN", TOKEN)
    clean.setenv("BONGSU_WEBHOOK_URL", "https://hook.example/in/secret-path")
    clean.setenv("BONGSU_WEBHOOK_SECRET", f"whsec_{SECRET}")
    assert read(XSettings) == XSettings(*map(Secret, KEYS))
    texts = (read(XSettings), read(MastodonSettings), read(WebhookSettings), environment.load())
    shown = " ".join(map(str, texts))
    assert not any(secret in shown for secret in (*KEYS, TOKEN, SECRET, "secret-path"))
    async with open_channels(environment.load()) as channels:
        assert [channel.name for channel in channels] == ["feed", "x", "mastodon", "webhook"]


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"BONGSU_CHANNELS": "feed,facebook"}, "some of apprise, bluesky, feed, mastodon, webhook, x"),
        ({"BONGSU_CHANNELS": "x"}, "BONGSU_X_API_KEY is not set"),
        ({"BONGSU_CHANNELS": "x", "BONGSU_X_API_KEY_FILE": "/nowhere/key"}, "cannot read '/nowhere/key'"),
        ({"BONGSU_CHANNELS": "x", "BONGSU_X_API_KEY_FILE": "a", "BONGSU_X_API_KEY": "b"}, "keep one"),
        (
            {
                "BONGSU_CHANNELS": "mastodon",
                "BONGSU_MASTODON_URL": "http://social.example",
                "BONGSU_MASTODON_TOKEN": "token",
            },
            "unencrypted",
        ),
        (
            {"BONGSU_CHANNELS": "webhook", "BONGSU_WEBHOOK_URL": "https://h.example", "BONGSU_WEBHOOK_SECRET": "c2hv"},
            "24 bytes or more, got 3",
        ),
        ({"BONGSU_POST_LANGUAGES": "ko,xx"}, "BONGSU_POST_LANGUAGES must be some of en, ja, ko"),
        ({"BONGSU_POST_LANGUAGES": "ja"}, "has ja, in which no caption is written: add it to BONGSU_LANGUAGES"),
        ({"BONGSU_POST_MAX_AGE_S": "soon"}, "BONGSU_POST_MAX_AGE_S"),
    ],
)
async def test_wrong_setting_is_one_clear_line(clean, given, refusal):
    for name, value in given.items():
        clean.setenv(name, value)
    with pytest.raises(SettingsError, match=refusal) as error:
        async with open_channels(environment.load()):
            pass
    assert "\n" not in str(error.value)


TELEGRAPH = """
from typing import ClassVar

from functions.settings import Environment, Secret


class TelegraphSettings(Environment, frozen=True):
    telegraph_key: Secret


class Telegraph:
    name: ClassVar[str] = "telegraph"
    Settings = TelegraphSettings
    sends = True

    def __init__(self, settings, context):
        self.key = settings.telegraph_key

    def fit(self, caption, incident_id):
        return caption

    async def post(self, incident, text, snapshot, key, location=None):
        return f"wired:{text.en}"
"""


@pytest.fixture
def telegraph(tmp_path, clean):
    """A channel of another distribution, as pip would have installed it."""
    (tmp_path / "telegraph_office.py").write_text(TELEGRAPH)
    about = tmp_path / "telegraph_office-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: telegraph-office\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bongsu.channels]\ntelegraph = telegraph_office:Telegraph\n")
    clean.syspath_prepend(str(tmp_path))
    clean.setenv("BONGSU_CHANNELS", "feed,telegraph")
    yield
    # It stays imported: who asks later for all declared settings, as the check for misspelt variables does, looks its
    # types up there.


@pytest.mark.usefixtures("telegraph")
async def test_channel_of_another_package_posts(clean, desk_of, captioned):
    with pytest.raises(SettingsError, match="BONGSU_TELEGRAPH_KEY is not set: set it, or BONGSU_TELEGRAPH_KEY_FILE"):
        async with open_channels(environment.load()):
            pass
    clean.setenv("BONGSU_TELEGRAPH_KEY", "morse")
    async with open_channels(environment.load()) as channels:
        await post(captioned(), desk := desk_of(*channels))
    assert (await desk.store.posts.newest("telegraph"))[0].reference == "wired:Fire at Sinchon Market."
    with pytest.raises(
        SettingsError, match="some of apprise, bluesky, feed, mastodon, webhook, x, telegraph, got 'telex'"
    ):
        find_channel("telex")


def test_channel_is_one_file_in_the_folder_of_channels(tmp_path, monkeypatch):
    (tmp_path / "telegraph.py").write_text(TELEGRAPH)
    monkeypatch.setattr("notify.channels.__path__", [*channels.__path__, str(tmp_path)])
    assert find_channel("telegraph").Settings.__name__ == "TelegraphSettings"
    assert list_channels() == ("apprise", "bluesky", "feed", "mastodon", "webhook", "x", "telegraph")


def test_only_configured_channels_are_imported():
    program = (
        "import asyncio, sys\n"
        "from notify.posting.opening import open_channels\nfrom notify.posting.settings import load\n"
        "async def main():\n    async with open_channels(load()) as channels: print([c.name for c in channels])\n"
        "asyncio.run(main())\n"
        "print([m for m in ('aiohttp', 'tweepy', 'apprise', 'yaml', 'notify.channels.x', 'notify.channels.webhook') "
        "if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "['feed']\n[]\n"


def test_poster_ends_with_one_line_where_a_setting_is_wrong(tmp_path, caption_keys):
    root = str(Path(__file__).parents[2])
    for name, value, texts in (
        ("BONGSU_CHANNELS", "x", "BONGSU_X_API_KEY is not set"),
        ("BONGSU_DATABASE_URL", "nonsense://x", "BONGSU_DATABASE_URL must start"),
    ):
        environ = {**caption_keys, "PATH": os.environ["PATH"], "PYTHONPATH": root, name: value}
        command = [sys.executable, "-m", "functions", "notify.post"]
        ended = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1 and texts in ended.stderr and "Traceback" not in ended.stderr


async def test_dry_run_needs_no_credentials_and_sends_nothing(clean, store, snapshots, captioned):
    clean.setenv("BONGSU_CHANNELS", "feed,x,mastodon,webhook")
    clean.setenv("BONGSU_POST_DRY_RUN", "1")
    async with open_channels(environment.load()) as channels:
        with capture_logs() as logs:
            await post(captioned(), PosterResources(store, snapshots, channels))
    said = {line["channel"]: line["ko"] for line in logs if line["event"] == "post_held_back"}
    assert said == dict.fromkeys(("x", "mastodon", "webhook"), "신촌시장에서 화재.")
    assert (await store.posts.newest("x"))[0].reference.startswith("dry-run:bongsu-1-x-")


def test_webhook_secret_is_what_the_library_makes_of_it():
    key = b"0123456789abcdef01234567"
    for text in (base64.b64encode(key).decode(), f"whsec_{base64.b64encode(key).decode()}"):
        assert read_secret(Secret(text)) == key
        at, body = utc_now(), b'{"type": "alert"}'
        signature = sign(read_secret(Secret(text)), "id-1", int(at.timestamp()), body)
        assert signature == standardwebhooks.Webhook(text).sign("id-1", at, body.decode())
    for text in ("whsec_not base64 at all", "0123456789abcdef!", "한강한강한강한강한강한강"):
        with pytest.raises(ValueError, match="must be whsec_ and base64") as refusal:
            read_secret(Secret(text))
        assert text not in str(refusal.value) and "\n" not in str(refusal.value)


def test_refusal_names_the_command_that_converts_a_secret():
    plain = "a plain text of many characters"
    with pytest.raises(ValueError) as refusal:
        read_secret(Secret(plain))
    command = str(refusal.value).split("`")[1]
    ran = subprocess.run(
        ["bash", "-c", command],
        env={"BONGSU_WEBHOOK_SECRET": plain, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert read_secret(Secret(ran.stdout.strip())) == plain.encode()
    with pytest.raises(ValueError) as refusal:
        read_secret(Secret("c2hvcnQ="))
    made = subprocess.run(
        ["bash", "-c", str(refusal.value).split("`")[1]], capture_output=True, text=True
    ).stdout.strip()
    assert len(read_secret(Secret(made))) == 32


async def _incident(captioned):
    """An incident as a channel gets it."""
    from store.records import Incident

    event = captioned()
    return await asyncio.sleep(
        0,
        Incident(
            id=7, camera=event.camera, hazard="fire", place=event.place, first_seen=event.captured_at,
            last_seen=event.captured_at, confidence=0.8, sightings=1, pin_s=0.1, caption=None, snapshot_key=None,
            revision=1,
        ),
    )  # fmt: skip


async def test_poster_that_is_killed_in_mid_post_leaves_one_post(pair, captioned, tmp_path, database_url):
    channel, double = pair
    name = channel.name
    double.faults, double.slow_s = ["slow"], 60
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "BONGSU_BROKER_URL": f"sqlite:///{tmp_path}/broker.db",
        "BONGSU_DATABASE_URL": database_url,
        "BONGSU_SNAPSHOT_URL": str(tmp_path / "snapshots"),
        "BONGSU_POST_MAX_AGE_S": "0",
        "BONGSU_CAPTION_PUBLIC_KEYS": os.environ["BONGSU_CAPTION_PUBLIC_KEYS"],
        "BONGSU_CHANNELS": name,
        "BONGSU_X_API_URL": double.url,
        **{f"BONGSU_X_{part}": key for part, key in zip(X_PARTS, KEYS, strict=True)},
        "BONGSU_MASTODON_URL": double.url,
        "BONGSU_MASTODON_TOKEN": TOKEN,
        "BONGSU_WEBHOOK_URL": f"{double.url}/hook",
        "BONGSU_WEBHOOK_SECRET": f"whsec_{SECRET}",
    }
    broker = await connect(environ["BONGSU_BROKER_URL"])
    await broker.declare(queues(["captioned.post"]))
    await broker.publish(encode(Signer.from_environment().sign(captioned())))
    await (await Store.open(database_url)).close()
    command = (sys.executable, "-m", "functions", "notify.post")

    async def start():
        return await asyncio.create_subprocess_exec(*command, env=environ, stderr=asyncio.subprocess.PIPE)

    poster = await start()
    async with asyncio.timeout(40):
        while not double.posts:
            await asyncio.sleep(0.05)
        poster.kill()
        texts = await poster.stderr.read()
        second = await start()
        store = await Store.open(database_url)
        while not await store.posts.newest(name):
            await asyncio.sleep(0.05)
        second.terminate()
        texts += await second.stderr.read()
        await asyncio.gather(poster.wait(), second.wait())
    await store.close()
    assert second.returncode == 0 and double.requests == 2 and len(double.posts) == 1
    assert list(await broker.dead_letters()) == []
    await broker.close()
    assert not any(secret.encode() in texts for secret in (*KEYS, TOKEN, SECRET))
