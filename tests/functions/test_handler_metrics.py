"""What is noted of handled events: every one in the metrics, a bounded number of lines, nothing silent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from functions import Event, HazardSeen, Place, encode, new_id, on, utc_now
from functions.broker.memory import MemoryBroker
from functions.event import Stage
from functions.function import Function
from functions.handler_metrics import LINES_PER_S, HandlerMetrics
from functions.runtime import run
from functions.topology import queues

ROOT = Path(__file__).parents[2]


def event() -> Event:
    return HazardSeen(
        id=new_id(), hazard="fire", camera="gate-1", place=Place(37.5, 127.0, "gate"), captured_at=utc_now()
    )


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_events_without_a_log_line_are_summed_up() -> None:
    broker, stopping, seen = MemoryBroker(), asyncio.Event(), []
    total = 3 * LINES_PER_S

    @on("fire")
    async def handle(event: Event) -> None:
        seen.append(event.id)
        if len(seen) == total:
            stopping.set()

    await broker.declare(queues(["fire.accounted"]))
    await broker.publish(*(encode(event()) for _ in range(total)))
    with capture_logs() as lines:
        function = Function("accounted", (handle.__bongsu_subscription__,))  # type: ignore[attr-defined]
        await run(function, broker, stopping)
    own = [line for line in lines if line["event"] == "event_handled"]
    shared = [line for line in lines if line["event"] == "events_handled"]
    assert len(own) + sum(line["events"] for line in shared) == total
    assert [line["event_id"] for line in own[:LINES_PER_S]] == seen[:LINES_PER_S]
    name = "accounted"
    assert sample("bongsu_events_handled_total", function=name, type="fire", outcome="ok") == total
    assert sample("bongsu_handler_duration_seconds_count", function=name) == total
    assert sample("bongsu_event_age_seconds_count", function=name) == total
    assert [sample("bongsu_stage_duration_seconds_count", stage=name, phase=p) for p in ("queued", "worked")] == [
        total, total,
    ]  # fmt: skip


async def test_shared_log_line_counts_what_it_stands_for() -> None:
    record, at = HandlerMetrics("shared"), utc_now()
    with capture_logs() as lines:
        for _ in range(LINES_PER_S + 7):
            record.handled(event(), [], Stage("shared", at, at))
        record.sum_up()
        record.handled(event(), [], Stage("shared", at, at))
        record.sum_up()
    assert [line["event"] for line in lines[-3:]] == ["event_handled", "events_handled", "event_handled"]
    assert lines[-2]["events"] == 7
    assert len(lines) == LINES_PER_S + 2


def test_a_handlers_own_lines_name_its_event(tmp_path: Path) -> None:
    """Also from a plain handler, which runs in a thread."""
    sent = event()
    (tmp_path / "events").write_bytes(encode(sent).body)
    (tmp_path / "talk.py").write_text(
        "import asyncio, structlog\n"
        "from functions import Event, decode, encode, on, telemetry\n"
        "from functions.broker.memory import MemoryBroker\n"
        "from functions.function import Function\n"
        "from functions.runtime import run\n"
        "from functions.topology import queues\n"
        "log = structlog.get_logger()\n"
        "stopping = asyncio.Event()\n"
        "@on('fire')\n"
        "def talk(event: Event) -> None:\n"
        "    log.info('talked')\n"
        "async def main() -> None:\n"
        "    telemetry.start('talk')\n"
        "    broker = MemoryBroker()\n"
        "    await broker.declare(queues(['fire.talk']))\n"
        "    await broker.publish(encode(decode(open('events', 'rb').read())))\n"
        "    asyncio.get_running_loop().call_later(0.5, stopping.set)\n"
        "    await run(Function('talk', (talk.__bongsu_subscription__,)), broker, stopping)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BONGSU_LOG_FORMAT": "json", "BONGSU_LOG_LEVEL": "info"}
    done = subprocess.run(
        [sys.executable, "talk.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    lines = [msgspec.json.decode(line) for line in done.stderr.splitlines()]
    (talked,) = [line for line in lines if line["event"] == "talked"]
    assert (talked["event_id"], talked["event_type"], talked["camera"]) == (sent.id, "fire", "gate-1"), done.stderr
    (stopped,) = [line for line in lines if line["event"] == "function_stopped"]
    assert "event_id" not in stopped
