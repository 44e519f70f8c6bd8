"""Sessions beside the relay: `bongsu run` starts the real agent and receive server, and ends them with the rest."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .conftest import Relay, wait_until
from .test_runner import read_until


def ask(relay: Relay) -> dict[str, Any]:
    """Ask for a session of rows, and wait until it is ready."""
    url = f"http://127.0.0.1:{relay.port + 10}/sessions"
    body = json.dumps({"kind": "scalar", "client": "car-17"}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        session: dict[str, Any] = json.loads(answer.read())
    look = urllib.request.Request(f"{url}/{session['id']}?wait_s=25", headers={"Session-Token": session["token"]})
    with urllib.request.urlopen(look, timeout=40) as answer:
        return dict(json.loads(answer.read()))


def run_with_sessions(relay: Relay) -> subprocess.Popen[str]:
    run = relay.run(has_sessions=True, BONGSU_SESSIONS_WARM="")
    read_until(run, f"sessions are at http://127.0.0.1:{relay.port + 10}")
    wait_until(lambda: is_listening(relay.port + 10))
    return run


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_ctrl_c_ends_session_workers_too(relay: Relay) -> None:
    run = run_with_sessions(relay)
    assert ask(relay)["state"] == "ready"
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert relay.processes() == []


def test_kill_9_ends_the_workers_of_sessions_too(relay: Relay) -> None:
    run = run_with_sessions(relay)
    assert ask(relay)["state"] == "ready"
    run.kill()
    run.wait()
    wait_until(lambda: relay.processes() == [])
    assert not list((relay.folder / "state/prometheus").glob("*scalar*")), "a file of metrics for each worker"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"BONGSU_SESSIONS_PORT": "web"}, "BONGSU_SESSIONS_PORT 'web': must be a port, such as 8090"),
        ({"BONGSU_SESSIONS_PORT": "70000"}, "BONGSU_SESSIONS_PORT 70000: must be 1 to 65535"),
    ],
)
def test_unusable_port_of_sessions_is_one_line(relay: Relay, environment: dict[str, str], words: str) -> None:
    run = relay.run(has_sessions=True, **environment)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert words in said
    assert said.count("\n") == 1


def test_state_folder_too_deep_for_sockets_is_refused(relay: Relay) -> None:
    run = relay.run("--state", str(Path("deep" * 30)), has_sessions=True)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "too long for a socket's path: choose a shorter one, or --no-sessions" in said
