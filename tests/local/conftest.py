"""A small pipeline in its own folder: one function in one file, and substitutes for the services that local/ starts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: {grace}
      containers:
        - {{name: {name}, image: x, command: [python, -m, functions, {target}]}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{name: {name}}}
  pollingInterval: 1
  cooldownPeriod: {cooldown}
  maxReplicaCount: 2
  triggers:
    - type: rabbitmq
      metadata: {{protocol: amqp, queueName: fire.{name}, mode: QueueLength, value: "5"}}
    - type: rabbitmq
      metadata: {{protocol: http, queueName: fire.{name}, mode: QueueLength, value: "5"}}
"""

# Each call leaves one line in done.txt; a camera named "slow-N" takes N seconds first.
FUNCTION = """
import asyncio, os
from functions import Event, on

@on("fire", timeout_s=60)
async def handle(event: Event) -> None:
    with open(os.environ["DONE_FILE"] + ".begun", "a") as file:
        file.write(f"{event.id} {os.getpid()}\\n")
    if event.camera.startswith("slow-"):
        await asyncio.sleep(float(event.camera.removeprefix("slow-")))
    with open(os.environ["DONE_FILE"], "a") as file:
        file.write(event.id + "\\n")
"""

# Substitute for `python -m motion`: records when it stops, which must be before the functions do.
MOTION = """
import os, signal, sys, time
def stop(*_):
    with open(os.environ["DONE_FILE"] + ".motion", "w") as file:
        file.write(str(time.time()))
    sys.exit()
signal.signal(signal.SIGTERM, stop)
assert open(os.environ["BONGSU_CAMERAS"]).read()
while True:
    time.sleep(1)
"""

# Substitute for `python -m api.server`.
API = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open(os.environ["BONGSU_SCALE_STATUS"], "rb").read())
    def log_message(self, *_): pass
http.server.HTTPServer((os.environ["BONGSU_HTTP_HOST"], int(os.environ["BONGSU_HTTP_PORT"])), Handler).serve_forever()
"""


@dataclass
class Relay:
    """A folder with everything that `bongsu run` needs, and the runs started there."""

    folder: Path
    port: int
    runs: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def done(self) -> list[str]:
        return _lines(self.folder / "done.txt")

    @property
    def begun(self) -> list[str]:
        return _lines(self.folder / "done.txt.begun")

    @property
    def broker_url(self) -> str:
        return f"sqlite:///{self.folder / 'state' / 'broker.db'}"

    def add_function(self, name: str, code: str = FUNCTION, *, cooldown: int = 1, grace: int = 20) -> None:
        (self.folder / f"{name}.py").write_text(code)
        text = MANIFEST.format(name=name, target=f"{name}.py", cooldown=cooldown, grace=grace)
        (self.folder / "keda" / f"{name}.yaml").write_text(text)

    def run(
        self, *arguments: str, has_sessions: bool = False, has_fleet: bool = False, **environment: str
    ) -> subprocess.Popen[str]:
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("BONGSU_", "PROMETHEUS_"))},
            "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
            "DONE_FILE": str(self.folder / "done.txt"),
            **environment,
        }
        code = (
            "import sys; from functions.cli import run_command; from local.cli import run; "
            "sys.exit(run_command(run, sys.argv[1:]))"
        )
        sessions = [*([] if has_sessions else ["--no-sessions"]), *([] if has_fleet else ["--no-fleet"])]
        run = subprocess.Popen(
            [sys.executable, "-c", code, "--port", str(self.port), "--keda", "keda", *sessions, *arguments],
            cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.runs.append(run)
        return run

    def processes(self) -> list[psutil.Process]:
        """Every live process of these runs, recognized by the environment that all of them inherit."""
        mine = str(self.folder / "done.txt")
        return [p for p in psutil.process_iter() if _environ(p).get("DONE_FILE") == mine]

    def status(self) -> dict[str, dict[str, object]]:
        """The status file by function; empty before there is one."""
        try:
            status = json.loads((self.folder / "state" / "scale.json").read_text())
        except FileNotFoundError:
            return {}
        return {function["name"]: function for function in status["functions"]}


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    (tmp_path / "keda").mkdir()
    (tmp_path / "cameras.yaml").write_text("cameras: []\n")
    for package, name, code in (("motion", "__main__", MOTION), ("api", "server", API)):
        folder = tmp_path / package
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(code)
        (folder / "__init__.py").touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    relay = Relay(tmp_path, port)
    relay.add_function("hospital")
    yield relay
    for run in relay.runs:
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
        run.wait()
        if run.stdout is not None:
            run.stdout.close()
    for process in relay.processes():
        process.kill()


def wait_until(claim: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until a condition holds; fails if it does not in time."""
    give_up_at = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < give_up_at, f"not true after {timeout_s} s"
        time.sleep(0.05)


async def eventually(claim: Callable[[], object], timeout_s: float = 10.0) -> None:
    """`wait_until` for conditions that need the event loop to run."""
    give_up_at = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < give_up_at, f"not true after {timeout_s} s"
        await asyncio.sleep(0.02)


def _lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return {}
