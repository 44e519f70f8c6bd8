"""Bluesky against a server that keeps the rules of its lexicons: one alert, one post."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from structlog.testing import capture_logs

from functions import Caption, Retry
from functions.settings import Secret, SettingsError, read
from notify.captions.location import draw_location
from notify.channels import ChannelContext
from notify.channels.bluesky import Bluesky, BlueskySettings, count_graphemes, record_key
from notify.post import PosterResources, post
from notify.posting.http import RateLimitWait
from tests.bluesky_double import BlueskyDouble, graphemes

HANDLE, PASSWORD = "alerts.city.example", "hush-abcd-efgh-ijkl"


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as opened:
        yield opened


@pytest.fixture
async def server():
    async with BlueskyDouble(HANDLE, PASSWORD) as double:
        yield double


@pytest.fixture
def channel(server, session):
    return open_channel(server, session)


@pytest.fixture
def desk(store, snapshots, channel):
    return PosterResources(store, snapshots, (channel,))


@pytest.fixture
def captioned(make_event):
    def make(**fields):
        return make_event("captioned", **{"hazard": "fire", **fields})

    return make


def open_channel(server, session, password=PASSWORD, **given):
    settings = BlueskySettings(Secret(HANDLE), Secret(password), server.url, **given)
    return Bluesky(settings, ChannelContext(("ko", "en"), session))


async def test_alert_is_posted_once_with_pictures_and_alt_text(server, desk, captioned, street):
    drawn = draw_location(captioned().place, None).jpeg
    await post(captioned(location=drawn), desk)
    await post(captioned(id_="event-2", seconds=5), desk)
    (out,) = server.posts
    assert out["text"] == "신촌시장에서 화재.\nFire at Sinchon Market." and out["langs"] == ["ko", "en"]
    snapshot, place = out["embed"]["images"]
    assert server.blobs[snapshot["image"]["ref"]["$link"]] == street
    assert snapshot["alt"] == out["text"] and snapshot["aspectRatio"] == {"width": 640, "height": 360}
    assert server.blobs[place["image"]["ref"]["$link"]] == drawn and "Map with a pin" in place["alt"]
    (kept,) = await desk.store.posts.newest("bluesky")
    assert kept.reference.startswith(f"at://{server.did}/app.bsky.feed.post/")


@pytest.mark.parametrize("fault", ["html-503", "json-500", "cut", "cut-after", "slow"])
async def test_failure_in_mid_post_ends_in_one_post(server, channel, desk, captioned, fault):
    server.faults, server.slow_s = [fault], 1.5
    with pytest.raises(Retry, match=r"^bluesky: "):
        await post(captioned(), desk)
    channel._pace = RateLimitWait()
    await post(captioned(caption=Caption(en="Other words.", ko="다른 말.")), desk)
    assert len(server.posts) == 1 and server.posts[0]["text"].startswith("신촌시장에서")


async def test_link_to_the_map_is_a_facet_over_its_bytes(server, session, store, snapshots, captioned):
    channel = open_channel(server, session, public_url="https://map.example/cctv/")
    await post(captioned(), PosterResources(store, snapshots, (channel,)))
    (out,) = server.posts
    (facet,) = out["facets"]
    covered = out["text"].encode()[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode()
    assert covered == "map.example/cctv/?incident=1"
    assert facet["features"] == [
        {"$type": "app.bsky.richtext.facet#link", "uri": "https://map.example/cctv/?incident=1"}
    ]


async def test_long_text_fits_300_graphemes_with_the_link(server, session, store, snapshots, captioned):
    channel = open_channel(server, session, public_url="https://map.example")
    ko, en = "경부고속도로 부근에서 사고가 감지되었습니다. " * 20, "Accident near the gate. " * 30
    await post(captioned(caption=Caption(en=en, ko=ko)), PosterResources(store, snapshots, (channel,)))
    (out,) = server.posts
    assert 250 < len(graphemes(out["text"])) <= 300 and out["text"].endswith("/?incident=1")


async def test_expired_token_is_renewed(server, desk, captioned):
    await post(captioned(), desk)
    server.expire()
    await post(captioned(id_="later", seconds=1000), desk)
    assert len(server.posts) == 2 and server.sessions == 2 and len(server.posts[1]["embed"]["images"]) == 1


async def test_wrong_password_is_refused_and_not_repeated(server, session, store, snapshots, captioned):
    channel = open_channel(server, session, "hush-wrong")
    with capture_logs() as logs, pytest.raises(Retry, match="bluesky: cannot sign in: refused: 401 Invalid") as retry:
        await post(captioned(), PosterResources(store, snapshots, (channel,)))
    assert retry.value.after_s == 300 and "hush" not in f"{retry.value} {retry.value.__cause__!r} {logs}"
    assert "hush" not in f"{BlueskySettings(Secret(HANDLE), Secret(PASSWORD))}"


async def test_rate_limit_is_waited_for(server, desk, captioned):
    server.faults = [server.limited(600)]
    for _ in range(2):
        with pytest.raises(Retry) as retry:
            await post(captioned(), desk)
        assert 590 < retry.value.after_s < 730
    assert server.requests == 1 and server.posts == []


async def test_words_go_out_alone_where_no_picture_is_taken(server, desk, captioned):
    server.takes_pictures = False
    await post(captioned(), desk)
    assert "embed" not in server.posts[0]


async def test_post_goes_out_where_the_server_refuses_its_picture(server, desk, captioned, street):
    # Over the limit of the lexicon, and under none of ours.
    large = street[:-2] + b"\0" * 800_000 + street[-2:]
    await post(captioned(snapshot=large), desk)
    assert "embed" not in server.posts[0]


def test_key_of_a_post_is_a_tid_in_the_order_of_days():
    at = datetime(2026, 11, 28, 23, 59, tzinfo=UTC)
    keys = [record_key(f"bongsu-{number}", at + timedelta(days=number)) for number in range(40)]
    assert keys == sorted(keys) and len({*keys}) == 40 and all(len(key) == 13 for key in keys)
    assert record_key("bongsu-1", at) == record_key("bongsu-1", at - timedelta(hours=3)) != record_key("bongsu-2", at)


@pytest.mark.parametrize("text", ["", "화재", "Fire", "e\u0301", "👩\u200d🚒 and 🔥🔥", "\u1112\u116a", "❤\ufe0f"])
def test_text_is_never_longer_than_was_counted(text):
    assert len(text) >= count_graphemes(text) >= len(graphemes(text)) - (text == "\u1112\u116a")


def test_address_without_encryption_is_refused(monkeypatch):
    for name, value in (("HANDLE", HANDLE), ("PASSWORD", PASSWORD), ("URL", "http://pds.example")):
        monkeypatch.setenv(f"BONGSU_BLUESKY_{name}", value)
    with pytest.raises(SettingsError, match="BONGSU_BLUESKY_URL must start with https://: the password"):
        read(BlueskySettings)
