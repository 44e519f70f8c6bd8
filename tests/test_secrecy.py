"""No address with a password in it reaches an event, a log line, a metric or a message."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from functions.broker import BrokerError, connect
from functions.event import CameraStatus, Captioned, HazardSeen, MotionBurst
from tests.servers import free_port

ROOT = Path(__file__).parents[1]
SECRET = "hunter2-9f3a"


@pytest.mark.parametrize("fact", [MotionBurst, HazardSeen, Captioned, CameraStatus])
def test_no_event_has_a_field_for_an_address(fact: type) -> None:
    assert not [name for name in fact.__struct_fields__ if "url" in name or "password" in name]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url", ["amqp://map:{0}@127.0.0.1:{1}/", "amqps://map:{0}@127.0.0.1:{1}/", "ampq://map:{0}@host/"]
)
def test_unreachable_broker_is_reported_without_password(url: str) -> None:
    with pytest.raises(BrokerError) as raised:
        asyncio.run(connect(url.format(SECRET, free_port())))
    assert SECRET not in str(raised.value)
    assert SECRET.encode() not in generate_latest()


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "from functions.cli import main; main()", "dead", "list"],
        ["-c", "from functions.cli import main; main()", "topology", "apply", "motion"],
        ["-m", "functions", "notify.map"],
        ["-m", "functions", "notify.post"],
    ],
    ids=lambda command: command[-1],
)
def test_no_process_says_an_address_with_a_password(command: list[str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BONGSU_BROKER_URL": f"amqp://map:{SECRET}@127.0.0.1:{free_port()}/",
        "BONGSU_DATABASE_URL": f"mysql+aiomysql://bongsu:{SECRET}@127.0.0.1:{free_port()}/bongsu",
        "BONGSU_SNAPSHOT_URL": str(tmp_path / "snapshots"),
        "BONGSU_LOG_LEVEL": "debug",
    }
    process = subprocess.Popen(
        [sys.executable, *command], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said = process.communicate(timeout=12)[0]
    except subprocess.TimeoutExpired:  # a function waits for its broker
        process.terminate()
        said = process.communicate(timeout=60)[0]
    assert said
    assert SECRET.encode() not in said
