"""The examples, run as a worker runs them, on events like those of the detector."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from functions import Box, Caption, Detection, HazardSeen, Place, Zone, utc_now
from functions.runtime import StartError
from functions.testing import make_event, run_function
from tests.examples.conftest import EXAMPLES

FAR = Place(35.1796, 129.0756, "Busan City Hall", "Busan")
LANE = Zone(Caption("Fire lane, north", "소방차 전용구역"), ((0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0)))


def car(x: float, label: str = "car") -> Detection:
    """A vehicle at this share of the width, on the ground at 0.9 of the height."""
    return Detection(label, 0.8, Box(x - 0.05, 0.7, x + 0.05, 0.9))


@pytest.fixture
def hospital(monkeypatch, receiver):
    monkeypatch.setenv("BONGSU_HOSPITAL_URL", f"{receiver.url}/alerts?token=secret")
    monkeypatch.setenv("BONGSU_HOSPITAL_LAT", "37.5622")
    monkeypatch.setenv("BONGSU_HOSPITAL_LON", "126.9410")
    return receiver


async def test_hospital_hears_of_accidents_nearby(hospital):
    near, again = make_event("accident"), make_event("accident")
    outcome = await run_function(EXAMPLES / "hospital.py", near, again, make_event("accident", place=FAR))
    assert len(outcome.handled) == 3 and not outcome.retried
    (_, body, headers), (_, _, second) = hospital.requests
    assert body["place"]["name"] == "Sinchon Market" and 700 < body["distance_m"] < 900
    assert headers["Idempotency-Key"].startswith("gate-1-")
    assert len({headers["Idempotency-Key"], second["Idempotency-Key"]}) == 1 or near.captured_at.minute % 10 == 0


async def test_failing_hospital_is_retried_and_refusal_kept(hospital):
    hospital.statuses = [503, 200, 401]
    outcome = await run_function(EXAMPLES / "hospital.py", make_event("accident"), make_event("accident"))
    assert [(r.reason, r.after_s) for r in outcome.retried] == [("hospital answered 503", 10)]
    assert [d.reason for d in outcome.dead] == ["hospital answered 401"] and len(outcome.handled) == 1


async def test_hospital_that_is_away_keeps_its_address_out_of_the_log(hospital, monkeypatch, capsys):
    monkeypatch.setenv("BONGSU_HOSPITAL_URL", "http://127.0.0.1:9/alerts?token=secret")
    outcome = await run_function(EXAMPLES / "hospital.py", make_event("accident"))
    assert outcome.dead[0].attempts == 8 and "no answer from the hospital" in outcome.dead[0].reason
    assert "secret" not in capsys.readouterr().out + outcome.dead[0].reason


async def test_missing_setting_is_one_clear_line(monkeypatch):
    monkeypatch.delenv("BONGSU_HOSPITAL_URL", raising=False)
    with pytest.raises(StartError, match="BONGSU_HOSPITAL_URL is not set: set it, or BONGSU_HOSPITAL_URL_FILE"):
        await run_function(EXAMPLES / "hospital.py", make_event("accident"))


@pytest.fixture
def signs(monkeypatch, receiver, tmp_path):
    listed = [
        {"name": "A", "lat": 37.5563, "lon": 126.9400, "url": f"{receiver.url}/a"},
        {"name": "B", "lat": 37.5561, "lon": 126.9372, "url": f"{receiver.url}/b"},
        {"name": "far", "lat": FAR.lat, "lon": FAR.lon, "url": f"{receiver.url}/far"},
    ]
    (tmp_path / "signs.json").write_bytes(msgspec.json.encode(listed))
    monkeypatch.setenv("BONGSU_AMBULANCE_SIGNS", str(tmp_path / "signs.json"))
    return receiver


async def test_signs_near_an_accident_show_the_ambulance(signs):
    event = make_event("accident")
    outcome = await run_function(
        EXAMPLES / "ambulance.py", event, make_event("accident", captured_at=utc_now() - timedelta(hours=1))
    )
    assert len(outcome.handled) == 2 and not outcome.retried
    assert sorted(what for what, _, _ in signs.requests) == ["PUT /a", "PUT /b"]
    (_, shown, _), _ = signs.requests
    assert "AMBULANCE" in shown["text"] and shown["until"] == (event.captured_at + timedelta(minutes=15)).isoformat()


async def test_sign_that_fails_is_set_again(signs):
    signs.statuses = [500]
    outcome = await run_function(EXAMPLES / "ambulance.py", make_event("accident"))
    assert "answered 500" in outcome.retried[0].reason and len(signs.requests) == 4 and len(outcome.handled) == 1


async def test_wrong_list_of_signs_is_one_clear_line(signs, monkeypatch, tmp_path):
    (tmp_path / "wrong.json").write_text('[{"name": "A", "lat": "north"}]')
    for path, refusal in (("wrong.json", "is not a list of signs: Expected `float`"), ("none.json", "cannot read")):
        monkeypatch.setenv("BONGSU_AMBULANCE_SIGNS", str(tmp_path / path))
        with pytest.raises(StartError, match=refusal):
            await run_function(EXAMPLES / "ambulance.py", make_event("accident"))


async def test_vehicles_in_a_fire_lane_are_published_for_the_report():
    blocked = make_event(
        "fire",
        zones=(LANE,),
        detections=(Detection("fire", 0.9, Box(0.6, 0, 1, 1)), car(0.2), car(0.4, "truck"), car(0.8)),
    )
    clear = make_event("fire", zones=(LANE,), detections=(car(0.8),))
    outcome = await run_function(EXAMPLES / "parking.py", blocked, clear, readers=["lane-blocked.nightly"])
    (lane,) = outcome.published
    assert (lane.type, lane.id, lane.lane, lane.vehicles) == ("lane-blocked", blocked.id, "Fire lane, north", 2)
    assert len(outcome.handled) == 2


async def test_fire_lane_without_a_reader_is_an_error():
    blocked = make_event("fire", zones=(LANE,), detections=(car(0.2),))
    outcome = await run_function(EXAMPLES / "parking.py", blocked, readers=[])
    assert "no queue takes 'lane-blocked'" in outcome.dead[0].reason


async def test_vehicles_are_counted_once_by_hour(monkeypatch, tmp_path):
    monkeypatch.setenv("BONGSU_TRAFFIC_FILE", str(tmp_path / "traffic.db"))
    at = datetime(2026, 11, 27, 8, 30, tzinfo=UTC)
    busy = make_event(
        HazardSeen, hazard="accident", captured_at=at, detections=(car(0.2), car(0.4), car(0.6, "person"))
    )
    quiet = make_event("fire", captured_at=at + timedelta(minutes=5), detections=())
    outcome = await run_function(
        EXAMPLES / "traffic.py", busy, quiet, busy, make_event("gun", captured_at=at, camera="b")
    )
    assert len(outcome.handled) == 4
    with sqlite3.connect(tmp_path / "traffic.db") as db:
        assert db.execute("SELECT * FROM by_hour").fetchall() == [
            ("b", "2026-11-27 08:00", 1, 0, 0.0),
            ("gate-1", "2026-11-27 08:00", 2, 2, 1.0),
        ]


async def test_report_of_a_night_has_each_camera_and_kind(monkeypatch, tmp_path):
    monkeypatch.setenv("BONGSU_NIGHTLY_FILE", str(tmp_path / "nightly.db"))
    at = datetime(2026, 11, 27, 14, 5, tzinfo=UTC)
    events = [make_event("fire", captured_at=at + timedelta(hours=hours)) for hours in (0, 1, 12)]
    blocked = make_event("fire", captured_at=at, zones=(LANE,), detections=(car(0.2),))
    lanes = (await run_function(EXAMPLES / "parking.py", blocked)).published
    outcome = await run_function(EXAMPLES / "nightly.py", *events, *lanes, events[0])
    assert len(outcome.handled) == 5
    command = [sys.executable, EXAMPLES / "nightly.py"]
    report = subprocess.run([*command, "2026-11-27"], capture_output=True, text=True, check=True).stdout
    assert report.splitlines()[0] == "# 2026-11-27 12:00 to 2026-11-27 21:00 UTC"
    assert "| Sinchon Market | gate-1 | fire | 2 | 14:05 | 15:05 |" in report
    assert "| Sinchon Market | gate-1 | lane-blocked | 1 | 14:05 | 14:05 |" in report
    empty = subprocess.run([*command, "2026-01-01"], capture_output=True, text=True, check=True).stdout
    assert "Nothing was seen." in empty
    wrong = subprocess.run([*command, "yesterday"], capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr == "nightly: the day must be like 2026-11-27, got 'yesterday'\n"


async def test_report_of_a_night_is_written_at_six(tmp_path, monkeypatch):
    monkeypatch.setenv("BONGSU_NIGHTLY_FILE", str(tmp_path / "nightly.db"))
    monkeypatch.setenv("BONGSU_NIGHTLY_REPORTS", str(tmp_path / "reports"))
    six = datetime(2026, 11, 27, 21, tzinfo=UTC)  # 06:00 of the 28th in Korea
    seen = make_event("fire", captured_at=six - timedelta(hours=2))
    assert len((await run_function(EXAMPLES / "nightly.py", seen)).handled) == 1
    tick = make_event("tick-report", due_at=six)
    outcome = await run_function(EXAMPLES / "nightly.py", tick, tick)
    assert len(outcome.handled) == 2 and not outcome.retried
    report = (tmp_path / "reports/2026-11-27.md").read_text()
    assert "| Sinchon Market | gate-1 | fire | 1 | 19:00 | 19:00 |" in report


async def test_lookout_answers_retries_and_rejects():
    fire = make_event("fire")
    events = (fire, make_event("fire", frame=None), make_event("fire", place=Place(1.0, 2.0, "")))
    outcome = await run_function(EXAMPLES / "lookout.py", *events)
    assert [(one.id, one.status) for one in outcome.published] == [(fire.id, "fire at Sinchon Market, 90%")]
    rejected, given_up = (one.reason for one in outcome.dead)
    assert rejected == "no picture" and "no place yet" in given_up
