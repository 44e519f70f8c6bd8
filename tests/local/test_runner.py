"""`bongsu run` as a whole: it starts everything and leaves no process, whatever happens in between."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from functions import HazardSeen, Place, encode, new_id
from functions.broker import connect
from local.runner import find_workloads

from .conftest import MANIFEST, ROOT, Relay, wait_until


async def publish(relay: Relay, *cameras: str) -> list[str]:
    """Publish a `fire` from each camera; returns their ids."""
    place = Place(37.5, 127.0, "gate")
    events = [
        HazardSeen(id=new_id(), hazard="fire", camera=c, place=place, captured_at=datetime.now(UTC)) for c in cameras
    ]
    broker = await connect(relay.broker_url)
    try:
        await broker.publish(*map(encode, events))
    finally:
        await broker.close()
    return [event.id for event in events]


async def waiting(relay: Relay) -> int:
    """Events that the function has not finished."""
    broker = await connect(relay.broker_url)
    try:
        depth = await broker.depth("fire.hospital")
    finally:
        await broker.close()
    return depth.ready + (depth.unacked or 0)


def replicas(relay: Relay) -> object:
    return relay.status().get("hospital", {}).get("replicas")


def fetch(relay: Relay) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{relay.port}/", timeout=5) as answer:
        return bytes(answer.read())


def read_until(run: subprocess.Popen[str], text: str) -> str:
    """Read a run's output up to the line that holds the text."""
    assert run.stdout is not None
    seen = ""
    for line in run.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} was never said:\n{seen}")


async def test_function_scales_0_1_0_and_ctrl_c_leaves_nothing(relay: Relay) -> None:
    run = relay.run()
    read_until(run, "asleep until there is work")
    wait_until(lambda: replicas(relay) == 0)
    ids = await publish(relay, "gate")
    printed = read_until(run, "hospital 1 -> 0")
    assert "hospital 0 -> 1" in printed
    assert relay.done == ids
    assert b'"hospital"' in await asyncio.to_thread(fetch, relay)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert relay.processes() == []


async def test_second_run_and_taken_port_are_refused(relay: Relay) -> None:
    first = relay.run()
    read_until(first, "asleep until there is work")
    second = relay.run()
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert said.count("\n") == 1
    assert f"already in use by `bongsu run` with process id {first.pid}" in said
    third = relay.run("--state", "elsewhere")
    said, _ = third.communicate(timeout=60)
    assert third.returncode == 1
    assert said.count("\n") == 1
    assert f"--port {relay.port}: cannot be used on 127.0.0.1 (Address already in use)" in said
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert relay.processes() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cameras", "mine.yaml"], "--cameras mine.yaml: no such file: copy cameras.example.yaml to mine.yaml"),
        (["--keda", "nowhere"], "no folder 'nowhere': name the folder of the scaled workloads with --keda"),
        (["--state", "cameras.yaml/state"], "--state cameras.yaml/state: cannot write"),
        (["--port", "70000"], "--port 70000: must be 1 to 65535"),
        (["--host", "no-such-host.invalid"], "cannot be used on no-such-host.invalid"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line_and_status_1(relay: Relay, arguments: list[str], words: str) -> None:
    run = relay.run(*arguments)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    lines = [line for line in said.splitlines() if not line.startswith("--host")]
    assert len(lines) == 1
    assert words in lines[0]


async def test_run_after_kill_9_finishes_the_work(relay: Relay) -> None:
    run = relay.run()
    read_until(run, "asleep until there is work")
    ids = await publish(relay, "slow-2")
    wait_until(lambda: relay.begun)
    assert len(relay.processes()) >= 4
    run.kill()
    run.wait()
    wait_until(lambda: relay.processes() == [])
    # It drains on SIGTERM: its current events are handled, later ones wait for the next run.
    assert relay.done == ids
    more = await publish(relay, "gate")
    again = relay.run()
    wait_until(lambda: relay.done == ids + more)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert relay.processes() == []


async def test_kill_9_of_a_worker_in_mid_work_loses_nothing(relay: Relay) -> None:
    run = relay.run()
    read_until(run, "asleep until there is work")
    ids = await publish(relay, "slow-1")
    wait_until(lambda: relay.begun)
    psutil.Process(int(relay.begun[0].split()[1])).kill()
    said = read_until(run, "was killed (SIGKILL)")
    assert "again in 1 s" in said
    wait_until(lambda: relay.done == ids)
    assert len(relay.begun) == 2
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)


async def test_ctrl_c_stops_motion_first_and_lets_work_in_hand_finish(relay: Relay) -> None:
    run = relay.run()
    read_until(run, "asleep until there is work")
    ids = await publish(relay, "slow-2")
    wait_until(lambda: relay.begun)
    begun_at = time.time()
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert relay.done == ids
    motion_ended_at = float((relay.folder / "done.txt.motion").read_text())
    assert begun_at <= motion_ended_at <= (relay.folder / "done.txt").stat().st_mtime
    assert relay.processes() == []


async def test_second_ctrl_c_hurries_without_loss(relay: Relay) -> None:
    run = relay.run()
    read_until(run, "asleep until there is work")
    ids = await publish(relay, "slow-30")
    wait_until(lambda: relay.begun)
    run.send_signal(signal.SIGINT)
    read_until(run, "stopping")
    run.send_signal(signal.SIGINT)  # twice at once, as `timeout` sends it
    await asyncio.sleep(1.0)
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=15)
    assert "killing: unfinished" in said
    assert relay.done == []
    assert relay.processes() == []
    assert await waiting(relay) == len(ids)


async def test_failing_function_is_not_restarted_in_a_hot_loop(relay: Relay) -> None:
    relay.add_function("broken", "raise RuntimeError('no such luck')\n", cooldown=60)
    run = relay.run()
    read_until(run, "asleep until there is work")
    await publish(relay, "gate")
    said = read_until(run, "again in 2 s")
    assert said.count("no such luck") == 2
    assert "again in 1 s" in said
    wait_until(lambda: len(relay.done) == 1)  # the other function is not affected
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
    assert relay.processes() == []


async def test_dead_service_is_started_again(relay: Relay) -> None:
    run = relay.run()
    read_until(run, "asleep until there is work")
    api = next(p for p in relay.processes() if "api.server" in p.cmdline())
    api.kill()
    assert "was killed (SIGKILL); again in 1 s" in read_until(run, "api ")
    wait_until(lambda: any("api.server" in p.cmdline() for p in relay.processes()))
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
    assert relay.processes() == []


async def test_dead_fork_server_is_restarted_once(relay: Relay) -> None:
    relay.add_function("hospital", cooldown=60)
    run = relay.run()
    read_until(run, "asleep until there is work")
    await publish(relay, "gate")
    wait_until(lambda: len(relay.done) == 1)
    replica = psutil.Process(int(relay.begun[0].split()[1]))
    server = replica.parent()
    assert server is not None
    assert server.num_threads() == 1, "a fork takes no thread along, so the fork server must have none"
    server.kill()
    wait_until(lambda: not replica.is_running())
    ids = await publish(relay, "gate")
    wait_until(lambda: relay.done[1:] == ids)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
    assert relay.processes() == []


STUBBORN = """
import time
from functions import Event, on

@on("fire")
async def handle(event: Event) -> None:
    with open(__import__("os").environ["DONE_FILE"] + ".begun", "a") as file:
        file.write(event.id + "\\n")
    time.sleep(600)
"""


async def test_endless_handler_is_killed_and_its_event_kept(relay: Relay) -> None:
    relay.add_function("hospital", STUBBORN, grace=1)
    run = relay.run()
    read_until(run, "asleep until there is work")
    await publish(relay, "gate")
    wait_until(lambda: relay.begun)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert "did not stop within its grace period of 1 s" in said
    assert run.returncode == 0
    assert relay.processes() == []
    assert await waiting(relay) == 1


async def test_killing_the_runner_ends_an_endless_handler(relay: Relay) -> None:
    relay.add_function("hospital", STUBBORN, grace=1)
    run = relay.run()
    read_until(run, "asleep until there is work")
    await publish(relay, "gate")
    wait_until(lambda: relay.begun)
    run.kill()
    run.wait()
    wait_until(lambda: relay.processes() == [])
    assert await waiting(relay) == 1


async def test_closed_terminal_stops_it_in_order(relay: Relay) -> None:
    # If these tests run under nohup, the pipeline would inherit that and correctly keep running.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        run = relay.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    read_until(run, "asleep until there is work")
    assert run.stdout is not None
    run.stdout.close()
    run.send_signal(signal.SIGHUP)
    assert run.wait(timeout=60) == 0
    # The standard library's resource tracker ends shortly after the process that started it.
    wait_until(lambda: relay.processes() == [])


def test_own_workloads_join_those_of_bongsu_and_replace_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = {workload.name: workload.target for workload in find_workloads(None)}
    assert {"detect", "map", "caption", "post"} <= set(ours)
    (tmp_path / "keda").mkdir()
    for name in ("hospital", "post"):
        text = MANIFEST.format(name=name, target=f"./{name}.py", cooldown=1, grace=1)
        (tmp_path / "keda" / f"{name}.yaml").write_text(text)
    found = {workload.name: workload.target for workload in find_workloads(None)}
    assert found == {**ours, "hospital": "./hospital.py", "post": "./post.py"}
    assert {workload.name for workload in find_workloads(Path("keda"))} == {"hospital", "post"}


def test_the_runner_itself_stays_light() -> None:
    heavy = {"cv2", "numpy", "onnxruntime", "sqlalchemy", "pydantic", "fastapi", "av", "aio_pika"}
    code = f"import sys, local.cli; print({heavy!r} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"


async def test_short_lived_replicas_reuse_metric_files(relay: Relay) -> None:
    run = relay.run()
    read_until(run, "asleep until there is work")
    for count in (1, 2):
        await publish(relay, "gate")
        read_until(run, "hospital 1 -> 0")
        files = {path.name for path in (relay.folder / "state" / "prometheus").iterdir()}
        # One of each kind for the slot, for all its replicas, and one for the fork server.
        assert {name.rpartition("_")[2] for name in files} <= {"hospital.0.db", "runner.db"}, files
        assert {"counter_hospital.0.db", "histogram_hospital.0.db"} <= files
        code = "from functions.telemetry import render_metrics; print(render_metrics()[0].decode())"
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(relay.folder / "state" / "prometheus")}
        said = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )
        handled = 'bongsu_events_handled_total{function="hospital",outcome="ok",type="fire"}'
        assert f"{handled} {count}.0" in said.stdout
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)


async def test_one_machine_ignores_regions(relay: Relay) -> None:
    run = relay.run(BONGSU_REGIONS="Seoul", BONGSU_REGION="Seoul")
    read_until(run, "asleep until there is work")
    ours = [process.environ() for process in relay.processes() if process.pid != run.pid]
    assert ours
    assert {(env["BONGSU_REGIONS"], env["BONGSU_REGION"]) for env in ours} == {("", "")}
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
