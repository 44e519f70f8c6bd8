"""Regions as settings and as queues: what is listed, what it is called, and what one machine says to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from functions.broker import BrokerError, connect
from functions.settings import Settings, SettingsError
from functions.topology import REGION_WAIT_S, burst_queue, queue, queue_name, queues, read_regions

ROOT = Path(__file__).parents[2]
RABBIT = "amqp://u:secret@rabbit"


def test_only_listed_regions_have_their_own_queue() -> None:
    regions = read_regions(" Seoul, ap-northeast-2 ,")
    assert regions == ("seoul", "ap-northeast-2")
    assert burst_queue("Seoul", regions) == "motion.seoul"
    assert burst_queue("AP-Northeast-2", regions) == "motion.ap-northeast-2"
    for other in ("", "Busan", "seoul-2"):
        assert burst_queue(other, regions) == "motion"
    assert burst_queue("Seoul", ()) == "motion"


@pytest.mark.parametrize(
    ("given", "message"), [("Seoul City", "letters"), ("서울", "letters"), ("-a", "letters"), ("a,B,A", "twice")]
)
def test_a_region_that_cannot_name_a_queue_is_refused(given: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"BONGSU_REGIONS.*{message}"):
        _ = Settings(broker_url=RABBIT, regions=given).region_names


def test_region_queue_moves_on_what_waits_too_long() -> None:
    shared, own = queues(["motion.seoul"])
    assert shared == queue("motion")  # it must be there before anything is moved to it
    assert (own.name, own.routing_key, own.moves_to) == ("motion.seoul", "motion.seoul", "motion")
    assert (own.max_length, own.delivery_limit) == (shared.max_length, shared.delivery_limit)
    assert own.ttl_s == REGION_WAIT_S
    assert queues(["motion.seoul", "motion", "motion.incheon"]) == (shared, own, queue("motion.incheon"))


def test_detector_reads_its_regions_queue() -> None:
    assert queue_name("motion", "detect", "motion.seoul") == "motion.seoul"
    assert queue_name("fire", "map", "motion.seoul") == "fire.map"
    assert Settings(broker_url=RABBIT, regions="Seoul", region="seoul").burst_queue == "motion.seoul"
    assert Settings(broker_url=RABBIT, regions="Seoul").burst_queue == "motion"
    assert Settings().burst_queue == "motion"


@pytest.mark.parametrize("listed", ["", "Incheon"])
def test_a_detector_of_a_region_that_is_not_listed_is_refused(listed: str) -> None:
    with pytest.raises(SettingsError, match="'Seoul' is not in BONGSU_REGIONS"):
        _ = Settings(broker_url=RABBIT, regions=listed, region="Seoul").burst_queue


@pytest.mark.parametrize("target", [["-m", "functions", "detect"], ["-m", "motion"]])
def test_without_rabbitmq_a_worker_ends_with_one_line(tmp_path: Path, target: list[str]) -> None:
    cameras = tmp_path / "cameras.yaml"
    cameras.write_text("cameras: []\n")
    environment = {"BONGSU_REGIONS": "Seoul", "BONGSU_REGION": "Seoul", "BONGSU_CAMERAS": str(cameras)}
    done = subprocess.run(
        [sys.executable, *target],
        cwd=ROOT,
        env={**os.environ, "BONGSU_BROKER_URL": f"sqlite:///{tmp_path}/b.db", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    message = "bongsu: BONGSU_REGIONS needs RabbitMQ (BONGSU_BROKER_URL=amqp://…), and this is sqlite://…\n"
    assert done.stderr == message


@pytest.mark.parametrize("scheme", ["memory://", "sqlite:///{}/broker.db"])
async def test_an_embedded_broker_refuses_a_regions_queue(tmp_path: Path, scheme: str) -> None:
    broker = await connect(scheme.format(tmp_path))
    with pytest.raises(BrokerError, match=r"motion\.seoul.*RabbitMQ"):
        await broker.declare(queues(["motion", "motion.seoul"]))
    await broker.close()
