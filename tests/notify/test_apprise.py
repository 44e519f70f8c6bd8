"""Apprise against a Telegram double and a real SMTP server: one alert once for each target that wants it."""

from __future__ import annotations

import email
import email.policy

import pytest
from aiosmtpd.controller import Controller
from apprise.plugins.telegram import NotifyTelegram
from structlog.testing import capture_logs

from functions import Caption, Place, Retry
from functions.event import utc_now
from functions.settings import Secret, SettingsError
from notify.channels import ChannelContext
from notify.channels.apprise import Apprise, AppriseSettings
from notify.post import PosterResources, post
from notify.posting import settings as environment
from notify.posting.areas import Area, Circle
from notify.posting.http import RateLimitWait
from notify.posting.opening import open_channels
from tests.servers import free_port
from tests.telegram_double import TelegramDouble

TOKEN = "123456789:AAhush-hush-hush-hush-hush-hush-hus"
URL = f"tgram://{TOKEN}/4711/"
BOTH = ("ko", "en")


@pytest.fixture
async def telegram(monkeypatch):
    async with TelegramDouble(TOKEN) as double:
        monkeypatch.setattr(NotifyTelegram, "notify_url", double.notify_url)
        yield double


@pytest.fixture
def captioned(make_event):
    def make(**fields):
        return make_event("captioned", **{"hazard": "fire", **fields})

    return make


@pytest.fixture
def configured(monkeypatch, tmp_path):
    """The channel as an operator turns it on, with this file of targets."""

    def write(text):
        (tmp_path / "apprise.yaml").write_text(text)
        monkeypatch.setenv("BONGSU_CHANNELS", "apprise")
        monkeypatch.setenv("BONGSU_APPRISE_CONFIG", str(tmp_path / "apprise.yaml"))
        monkeypatch.setenv("TG", URL)

    return write


def one_target(url=URL):
    (channel,) = Apprise.open_all(AppriseSettings(Secret(url)), ChannelContext(BOTH))
    return channel


async def test_alert_is_sent_once_with_the_mosaicked_picture(telegram, store, snapshots, captioned, street):
    desk = PosterResources(store, snapshots, (one_target(),))
    await post(captioned(), desk)
    await post(captioned(id_="event-2", seconds=5), desk)
    text = "".join(out["text"] for out in telegram.posts)
    assert [out["jpeg"] for out in telegram.posts if out["jpeg"]] == [street]
    assert {out["chat"] for out in telegram.posts} == {"4711"}
    assert text.count("신촌시장에서 화재.") == text.count("Fire at Sinchon Market.") == 1 and "화재 · Fire" in text
    (kept,) = await store.posts.newest("apprise")
    assert kept.reference.startswith("Telegram:bongsu-1-apprise-")


@pytest.mark.parametrize("fault", ["html-503", "cut", "json-500"])
async def test_failure_is_tried_again_with_the_same_words(telegram, store, snapshots, captioned, fault):
    channel = one_target()
    desk = PosterResources(store, snapshots, (channel,))
    telegram.faults = [fault] * 4
    with capture_logs() as logs, pytest.raises(Retry, match=r"^apprise: ") as retry:
        await post(captioned(snapshot=None), desk)
    assert retry.value.after_s >= 4 and "hush" not in f"{retry.value} {retry.value.__cause__!r} {logs}"
    telegram.faults, channel._pace = [], RateLimitWait()
    await post(captioned(snapshot=None, caption=Caption(en="Other words.", ko="다른 말.")), desk)
    assert len(telegram.posts) == 1 and "Sinchon" in telegram.posts[0]["text"]


async def test_refusal_names_the_target_and_no_credential(telegram, configured, store, snapshots, captioned):
    configured("targets: [{name: brigade, url: 'tgram://123456789:AAwrong-wrong-wrong-wrong-wrong-wro/4711'}]")
    async with open_channels(environment.load()) as channels:
        with pytest.raises(Retry, match="apprise-brigade: refused: 401 Telegram") as retry:
            await post(captioned(), PosterResources(store, snapshots, channels))
    assert retry.value.after_s == 300 and "wrong" not in repr(retry.value.__cause__) + str(retry.value)
    assert telegram.posts == []


async def test_target_that_fails_holds_up_no_other(telegram, configured, store, snapshots, captioned):
    configured(
        "targets:\n- {name: brigade, url: '${TG}'}\n"
        f"- {{name: away, url: 'json://127.0.0.1:{free_port()}/?cto=0.5&rto=0.5'}}\n"
    )
    async with open_channels(environment.load()) as channels:
        desk = PosterResources(store, snapshots, channels)
        for _ in range(2):
            with pytest.raises(Retry, match=r"^apprise-away: "):
                await post(captioned(snapshot=None), desk)
    assert len(telegram.posts) == 1


async def test_target_gets_its_own_classes_area_and_language(telegram, configured, store, snapshots, captioned):
    configured(
        "targets:\n"
        "- {name: fires, url: '${TG}', classes: [fire], languages: [en]}\n"
        "- {name: crashes, url: '${TG}', classes: [accident]}\n"
        "- {name: near, url: '${TG}', area: {circle: {lat: 37.5585, lon: 126.937, radius_m: 500}}, languages: [ko]}\n"
        "- {name: busan, url: '${TG}', area: {regions: [Busan]}}\n"
    )
    async with open_channels(environment.load()) as channels:
        desk = PosterResources(store, snapshots, channels)
        await post(captioned(snapshot=None), desk)
        await post(captioned(snapshot=None, id_="event-2", seconds=3), desk)
    words = sorted(out["text"] for out in telegram.posts)
    assert len(words) == 2 and "신촌" not in words[0] and "Fire at" not in words[1]
    sent = {one.channel for one in await store.posts.of_incident(1)}
    assert sent == {"apprise-fires", "apprise-near"}
    # The audit does not take what was not for a target for missing.
    now = utc_now()
    missing = await store.posts.missing(captioned().captured_at, now)
    assert set(missing) == {f"apprise-{name}" for name in ("fires", "crashes", "near", "busan")}
    assert not any(missing.values())


def test_place_is_in_any_part_of_an_area():
    here, there = Place(37.5585, 126.937, "here", "Seoul"), Place(35.18, 129.07, "there", "Busan")
    square = ((37.5, 126.9), (37.6, 126.9), (37.6, 127.0), (37.5, 127.0))
    horseshoe = ((0.0, 0.0), (0.0, 3.0), (3.0, 3.0), (3.0, 2.0), (1.0, 2.0), (1.0, 1.0), (3.0, 1.0), (3.0, 0.0))
    assert Area().holds(here) and Area().holds(there)
    assert Area(polygon=square).holds(here) and not Area(polygon=square).holds(there)
    assert Area(polygon=square, regions=("Busan",)).holds(there)
    assert Area(circle=Circle(35.18, 129.07, 10)).holds(there) and not Area(circle=Circle(35.18, 129.07, 10)).holds(
        here
    )
    assert [Area(polygon=horseshoe).holds(Place(2.0, lon, "")) for lon in (0.5, 1.5, 2.5)] == [True, False, True]


class Mailbox:
    """What an SMTP server keeps; with `refuses` it takes nothing."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []
        self.refuses = False

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        if self.refuses:
            return "451 try again later"
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@pytest.fixture
def smtp():
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield mailbox, f"mailto://127.0.0.1:{controller.port}/desk@city.example?from=alerts@city.example&mode=insecure"
    controller.stop()


async def test_mail_has_words_and_picture(smtp, store, snapshots, captioned, street):
    mailbox, url = smtp
    channel = one_target(url)
    desk = PosterResources(store, snapshots, (channel,))
    mailbox.refuses = True
    with pytest.raises(Retry, match=r"^apprise: no answer that tells"):
        await post(captioned(), desk)
    mailbox.refuses, channel._pace = False, RateLimitWait()
    await post(captioned(), desk)
    (mail,) = mailbox.mails
    assert mail["To"] == "desk@city.example" and "화재 · Fire: Sinchon Market" in mail["Subject"]
    parts = {part.get_content_type(): part for part in mail.walk()}
    assert parts["image/jpeg"].get_content() == street
    assert "신촌시장에서 화재." in parts["text/plain"].get_content()


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("targets: []", "lists no target"),
        ("targets: [{name: a, url: 'tgram://${NOWHERE}/1'}]", r"\$\{NOWHERE\} is not in the environment: set NOWHERE"),
        ("targets: [{name: a, url: 'hush://hush'}]", "apprise-a: Apprise does not understand the address"),
        ("targets: [{name: A B, url: 'json://h'}]", "name must be 1 to 24 lower case"),
        ("targets: [{name: a, url: 'json://h', class: [fire]}]", "unknown field `class`"),
        ("targets: [{name: a, url: 'json://h', classes: [flood]}]", "Invalid enum value 'flood'"),
        (
            "targets: [{name: a, url: 'json://h', area: {polygon: [[1, 2]]}}]",
            "polygon must have 3 corners or more, got 1",
        ),
        ("targets: [{name: a, url: 'json://h'}, {name: a, url: 'json://i'}]", "two targets named a"),
        ("targets: [{name: a, url: 'tgram://hush:hush", "not YAML at line"),
    ],
)
async def test_wrong_file_is_one_clear_line(configured, text, refusal):
    configured(text)
    with pytest.raises(SettingsError, match=refusal) as error:
        async with open_channels(environment.load()):
            pass
    assert "\n" not in str(error.value) and "hush" not in str(error.value)


@pytest.fixture
def dry_run(monkeypatch):
    """Sends nothing."""
    monkeypatch.setenv("BONGSU_POST_DRY_RUN", "1")


@pytest.mark.usefixtures("dry_run")
async def test_dry_run_keeps_to_classes_and_sends_nothing(telegram, configured, store, snapshots, captioned):
    configured("targets:\n- {name: a, url: '${TG}', classes: [gun]}\n- {name: b, url: '${TG}'}\n")
    async with open_channels(environment.load()) as channels:
        with capture_logs() as logs:
            await post(captioned(), PosterResources(store, snapshots, channels))
    assert [line["channel"] for line in logs if line["event"] == "post_held_back"] == ["apprise-b"]
    assert telegram.requests == 0


async def test_no_target_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("BONGSU_CHANNELS", "apprise")
    with pytest.raises(SettingsError, match="BONGSU_APPRISE_URL is not set: set it, or BONGSU_APPRISE_CONFIG"):
        async with open_channels(environment.load()):
            pass
