"""A cluster of one machine for tests: the agent and receive servers as processes, as users run them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[2]
_START_S = 60.0


class Process:
    """One of our modules, with what it wrote."""

    def __init__(self, module: str, env: dict[str, str], log: Path) -> None:
        self.module, self.log = module, log
        self._env = {**os.environ, "PYTHONPATH": str(ROOT), "BONGSU_LOG_LEVEL": "info", **env}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module], env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait(self) -> int:
        """Its exit status, once it has ended by itself."""
        assert self._process is not None
        return self._process.wait(_START_S)

    def end(self, signum: signal.Signals = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signum)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class Cluster:
    """An agent, and receive servers that serve it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings = {
            "BONGSU_SESSIONS_STATE": str(folder),
            "BONGSU_SESSIONS_ASK": "open",
            "BONGSU_SESSIONS_WARM": "scalar=1",
            "BONGSU_SESSIONS_CORES": "8",
            "BONGSU_SESSIONS_MEMORY_MB": "4000",
            **{f"BONGSU_{name.upper()}": value for name, value in settings.items()},
        }
        self.agent = Process("sessions.agent", self.settings, folder / "agent.out")
        self.servers: list[Process] = []
        self.ports: list[int] = []

    def serve(self, **settings: str) -> str:
        """Start a receive server; its address."""
        port = free_port()
        mine = {f"BONGSU_{name.upper()}": value for name, value in settings.items()}
        env = {**self.settings, "BONGSU_SESSIONS_PORT": str(port), **mine}
        self.servers.append(Process("sessions.server", env, self.folder / f"server{len(self.servers)}.out"))
        self.ports.append(port)
        self.await_server(port)
        return f"http://127.0.0.1:{port}"

    def await_server(self, port: int) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).is_success:
                    return
            time.sleep(0.05)
        raise AssertionError(f"no receive server: {self.output()}")

    def await_idle(self, kind: str, count: int = 1) -> None:
        """Wait until the warm pool has so many ready workers."""
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            idle = self.list_all()["idle"]
            if sum(1 for w in idle if w["kind"] == kind and w["state"] == "ready") >= count:
                return
            time.sleep(0.05)
        raise AssertionError(f"no {count} idle workers of {kind}: {self.output()}")

    def list_all(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.ports[0]}/sessions", timeout=20).json()
        return found

    def workers(self) -> list[psutil.Process]:
        """Worker processes that live."""
        found = []
        for process in psutil.process_iter(["name"]):
            # Forked from one that has imported all: the name is a worker's own, the command line is not.
            if (process.info["name"] or "").startswith(("scalar-", "image-", "object-")):
                with contextlib.suppress(psutil.Error):
                    if process.environ().get("BONGSU_SESSIONS_STATE") == str(self.folder):
                        found.append(process)
        return found

    def output(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.out")))

    def close(self) -> None:
        for server in self.servers:
            server.end()
        self.agent.end()


@contextlib.contextmanager
def running_cluster(**settings: str) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="bs-"))
    cluster = Cluster(folder, **settings)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port from 24000 to 24999 that nobody uses now; processes side by side begin at different ones."""
    start = 24_000 + (os.getpid() * 37 + int(time.monotonic() * 1000)) % 900
    for port in range(start, start + 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def ask(base: str, kind: str = "scalar", client: str = "car-1", **more: Any) -> httpx.Response:
    """POST /sessions; what is no header is of the body."""
    headers = more.pop("headers", {})
    return httpx.post(f"{base}/sessions", json={"kind": kind, "client": client, **more}, headers=headers, timeout=40)


def url_of(session: dict[str, Any], **query: Any) -> str:
    """The WebSocket of a session, with its token."""
    pairs = "&".join(f"{name}={value}" for name, value in {"token": session["token"], **query}.items())
    return f"{session['url']}?{pairs}"


def text(message: dict[str, Any]) -> str:
    return json.dumps(message)
