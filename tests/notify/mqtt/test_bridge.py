"""The bridge against Mosquitto: what is retained follows the database, whatever is stopped meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiomqtt
import pytest
from structlog.testing import capture_logs

from functions.settings import Secret
from notify.mqtt.__main__ import main
from store import StoreError
from store.revisions import Revisions
from tests.notify.mqtt.conftest import TOPICS
from tests.servers import Mosquitto

pytestmark = pytest.mark.connected

FIRE = TOPICS.hazard("gate-1", "fire")
SNAPSHOT = TOPICS.snapshot("gate-1")


async def test_incident_turns_its_sensor_on_with_caption_and_picture(bridged, subscriber, happen, now_event, street):
    await happen(now_event("camera", id_="status"))
    async with bridged():
        await subscriber.until_state(TOPICS.status, b"online")
        assert subscriber.topics[FIRE] == b"OFF" and subscriber.topics[f"{FIRE}/attributes"] == b"{}"
        assert subscriber.topics[TOPICS.stream("gate-1")] == b"live"
        await happen(now_event("fire"))
        await subscriber.until_state(FIRE, b"ON")
        await happen(now_event("captioned", hazard="fire"))
        await subscriber.until_state(SNAPSHOT, street)
        # The picture is published before the attributes.
        await subscriber.until(lambda topics: b"Fire at Sinchon Market." in topics[f"{FIRE}/attributes"])
        reported = json.loads(subscriber.topics[f"{FIRE}/attributes"])
        assert reported["caption_en"] == "Fire at Sinchon Market." and reported["caption_ko"] == "신촌시장에서 화재."
        assert (
            reported["status"] == "open" and reported["place"] == "Sinchon Market" and reported["latitude"] == 37.5585
        )
        assert reported["url"] == "https://map.example/?incident=1"
        assert subscriber.topics[TOPICS.hazard("gate-1", "gun")] == b"OFF"
    await subscriber.until_state(TOPICS.status, b"offline")


async def test_sensor_is_cleared_when_the_incident_is_over(bridged, subscriber, happen, now_event, store):
    await happen(now_event("fire", seconds=-store.quiet_s + 2))
    async with bridged():
        await subscriber.until_state(FIRE, b"ON")
        await subscriber.until_state(FIRE, b"OFF")
    reported = json.loads(subscriber.topics[f"{FIRE}/attributes"])
    assert reported["status"] == "over" and "last_seen" in reported


async def test_false_alarm_takes_words_and_picture_back(bridged, subscriber, happen, now_event, store):
    await happen(now_event("captioned", hazard="fire"))
    async with bridged():
        await subscriber.until(lambda topics: SNAPSHOT in topics)
        picture = subscriber.topics[SNAPSHOT]
        await store.reviews.give(1, "false_alarm", by="desk")
        await subscriber.until_state(FIRE, b"OFF")
        reported = json.loads(subscriber.topics[f"{FIRE}/attributes"])
        assert SNAPSHOT not in subscriber.topics
        assert reported == {
            "incident": 1,
            "hazard": "fire",
            "status": "false_alarm",
            "url": "https://map.example/?incident=1",
        }
        await store.reviews.withdraw(1)
        await subscriber.until_state(FIRE, b"ON")
        assert subscriber.topics[SNAPSHOT] == picture


async def test_lost_and_frozen_cameras_are_told(bridged, subscriber, happen, now_event):
    stream = TOPICS.stream("gate-1")
    async with bridged():
        await happen(now_event("camera", id_="a", seconds=-3))
        await subscriber.until_state(stream, b"live")
        await happen(now_event("camera", id_="b", seconds=-2, status="lost: no frame for 10 s"))
        await subscriber.until_state(stream, b"lost")
        assert json.loads(subscriber.topics[f"{stream}/attributes"])["reason"] == "no frame for 10 s"
        await happen(now_event("camera", id_="c", seconds=-1, status="lost: frozen: the picture has not changed"))
        await subscriber.until_state(stream, b"frozen")


async def test_nothing_is_published_twice(bridged, subscriber, happen, now_event):
    for number in range(3):
        await happen(now_event("captioned", hazard="fire", id_=f"event-{number}", seconds=number / 10))
    async with bridged():
        await subscriber.until_state(TOPICS.status, b"online")
        before = len(subscriber.heard)
        for number in range(3, 6):
            await happen(now_event("captioned", hazard="fire", id_=f"event-{number}", seconds=number / 10))
        await asyncio.sleep(0.4)
        assert subscriber.heard[before:] == []
    await subscriber.until_state(TOPICS.status, b"offline")
    before = len(subscriber.heard)
    async with bridged():
        await subscriber.until_state(TOPICS.status, b"online")
    # It read what was retained and found it right.
    assert {topic for topic, _ in subscriber.heard[before:]} == {TOPICS.sync, TOPICS.status}


async def test_what_changed_while_the_server_was_away_is_made_up_for(bridged, mosquitto, happen, now_event):
    await happen(now_event("fire"))
    with capture_logs() as logs:
        async with bridged():
            await _until_retained(mosquitto, FIRE, b"ON")
            mosquitto.kill()
            await happen(now_event("gun", id_="gun"))
            mosquitto.start()
            await _until_retained(mosquitto, TOPICS.hazard("gate-1", "gun"), b"ON")
            # It keeps nothing on disk, so all had to be published again.
            await _until_retained(mosquitto, FIRE, b"ON")
    assert "mqtt_unavailable" in [line["event"] for line in logs]


async def test_bridge_is_offline_while_the_database_is_away(bridged, subscriber, happen, now_event, monkeypatch):
    async with bridged():
        await subscriber.until_state(TOPICS.status, b"online")
        with monkeypatch.context() as patch:
            patch.setattr(Revisions, "changes_after", _refuse)
            await subscriber.until_state(TOPICS.status, b"offline")
        await happen(now_event("fire"))
        await subscriber.until_state(FIRE, b"ON")
        await subscriber.until_state(TOPICS.status, b"online")


async def _refuse(*_: object) -> None:
    raise StoreError("database is not available")


async def test_topics_of_forgotten_cameras_are_deleted(bridged, mosquitto, subscriber, happen, now_event):
    others = {"bongsu/cameras/gone/fire": b"ON", "homeassistant/device/bongsu/gone/config": b"{}"}
    foreign = {"bongsu2/cameras/a/fire": b"ON", "homeassistant/device/other/a/config": b"{}"}
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for topic, payload in (others | foreign).items():
            await client.publish(topic, payload, retain=True, qos=1)
    await happen(now_event("camera"))
    async with bridged():
        await subscriber.until_state(TOPICS.status, b"online")
        assert not others.keys() & subscriber.topics.keys()
        assert foreign.items() <= subscriber.topics.items()


@pytest.fixture
def hourly(monkeypatch):
    """What is done every hour is done five times a second."""
    monkeypatch.setattr("notify.mqtt.bridge._REFRESH_S", 0.2)


@pytest.mark.usefixtures("hourly")
async def test_deleted_picture_is_shown_no_longer(bridged, subscriber, happen, now_event, tmp_path):
    await happen(now_event("captioned", hazard="fire"))
    async with bridged():
        await subscriber.until(lambda topics: SNAPSHOT in topics)
        for path in tmp_path.glob("**/*.jpg"):
            path.unlink()
        await subscriber.until(lambda topics: SNAPSHOT not in topics)


@pytest.fixture
def environ(mosquitto, database_url, tmp_path):
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "BONGSU_DATABASE_URL": database_url,
        "BONGSU_SNAPSHOT_URL": str(tmp_path / "snapshots"),
        "BONGSU_MQTT_URL": f"mqtt://127.0.0.1:{mosquitto.port}",
        "BONGSU_MQTT_POLL_S": "0.1",
    }


async def test_killed_bridge_is_offline_by_its_last_will(environ, subscriber, happen, now_event):
    await happen(now_event("fire"))
    bridge = subprocess.Popen([sys.executable, "-m", "notify.mqtt"], env=environ, stderr=subprocess.DEVNULL)
    try:
        await subscriber.until_state(TOPICS.status, b"online")
        bridge.kill()
        await subscriber.until_state(TOPICS.status, b"offline")
        assert subscriber.topics[FIRE] == b"ON"
    finally:
        bridge.kill()
        bridge.wait()
    bridge = subprocess.Popen([sys.executable, "-m", "notify.mqtt"], env=environ, stderr=subprocess.PIPE)
    await subscriber.until_state(TOPICS.status, b"online")
    bridge.send_signal(signal.SIGTERM)
    _, reported = await asyncio.to_thread(bridge.communicate, timeout=30)
    assert bridge.returncode == 0 and b"Traceback" not in reported
    await subscriber.until_state(TOPICS.status, b"offline")


async def test_user_and_certificate_are_checked(tmp_path, store, snapshots, bridged, mosquitto):
    mosquitto.stop()
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "bongsu", "hush-7"], check=True)
    _certificates(tmp_path)
    mosquitto.settings = [
        "allow_anonymous false", f"password_file {passwords}",
        f"certfile {tmp_path}/server.pem", f"keyfile {tmp_path}/server.key",
    ]  # fmt: skip
    mosquitto.start()
    url = f"mqtts://localhost:{mosquitto.port}"
    trusted = {"mqtt_url": url, "mqtt_user": Secret("bongsu"), "mqtt_ca": f"{tmp_path}/server.pem"}
    for given, reported in (
        (trusted | {"mqtt_password": Secret("hush-7")}, "mqtt_connected"),
        (trusted | {"mqtt_password": Secret("wrong-8")}, "refused the user: check BONGSU_MQTT_USER"),
        (trusted | {"mqtt_password": Secret("hush-7"), "mqtt_ca": ""}, "certificate verify failed"),
    ):
        with capture_logs() as logs:
            async with bridged(**given), asyncio.timeout(10):
                while not any(reported in str(line) for line in logs):
                    await asyncio.sleep(0.05)
        assert "hush" not in str(logs) and "wrong-8" not in str(logs)


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ({}, "BONGSU_MQTT_URL is not set"),
        ({"URL": "http://host"}, "mqtts://host[:port], got 'http://host'"),
        ({"URL": "mqtt://me:hush-7@host"}, "must hold no user or password"),
        ({"URL": "mqtts://host", "CA": "/nowhere.pem"}, "BONGSU_MQTT_CA: cannot use '/nowhere.pem'"),
        ({"URL": "mqtt://host", "PREFIX": "a/#"}, "BONGSU_MQTT_PREFIX must be of letters"),
        ({"URL": "mqtt://host", "PASSWORD": "hush-7"}, "BONGSU_MQTT_PASSWORD needs BONGSU_MQTT_USER"),
    ],
)
def test_wrong_setting_is_one_clear_line(given, reported, monkeypatch, capsys, database_url):
    monkeypatch.setenv("BONGSU_DATABASE_URL", database_url)
    monkeypatch.setattr("functions.telemetry.start", lambda _: None)
    for name, value in given.items():
        monkeypatch.setenv(f"BONGSU_MQTT_{name}", value)
    assert main() == 1
    said = capsys.readouterr().err
    assert reported in said and said.count("\n") == 1 and "hush" not in said


async def _until_retained(mosquitto: Mosquitto, topic: str, state: bytes) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client, asyncio.timeout(0.5):
                    await client.subscribe(topic)
                    async for message in client.messages:
                        if message.payload == state:
                            return
            except (aiomqtt.MqttError, TimeoutError):
                await asyncio.sleep(0.05)


def _certificates(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "server.key", "-out", folder / "server.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
