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
import yaml

from tests.kube.__main__ import kubeconfig

ROOT = Path(__file__).parents[2]
NAMESPACE = "bongsu-sessions"
_START_S = 60.0


class Process:
    """One of our modules, with what it wrote."""

    def __init__(self, module: str, env: dict[str, str], log: Path, *arguments: str) -> None:
        self.module, self.log, self.arguments = module, log, arguments
        self._env = {**os.environ, "PYTHONPATH": str(ROOT), "BONGSU_LOG_LEVEL": "info", **env}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
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
        self.agent = self._start_agent()
        self.servers: list[Process] = []
        self.ports: list[int] = []

    def _start_agent(self) -> Process:
        return Process("sessions.agent", self.settings, self.folder / "agent.out")

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
        for process in psutil.process_iter(["name", "cmdline"]):
            # On one machine it is forked from one that has imported all: the name is a worker's own. On a cluster the
            # command line is.
            is_forked = (process.info["name"] or "").startswith(("scalar-", "image-", "object-"))
            if is_forked or "sessions.worker" in (process.info["cmdline"] or []):
                with contextlib.suppress(psutil.Error):
                    if process.environ().get("BONGSU_SESSIONS_STATE") == str(self.folder):
                        found.append(process)
        return found

    def drain(self, worker: str) -> None:
        """Have a worker end, as where its machine needs the room."""
        processes = {w.name()[:15]: w for w in self.workers()}
        processes[worker[:15]].send_signal(signal.SIGTERM)

    def drain_all(self, is_drained: bool = True) -> None:
        """Have all sessions go elsewhere, as before the machine is stopped."""
        url = f"http://127.0.0.1:{self.ports[0]}/drain"
        httpx.post(url, json={"is_drained": is_drained}, timeout=20).raise_for_status()

    def undrain_all(self) -> None:
        """The end of that."""
        self.drain_all(False)

    def output(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.out")))

    def close(self) -> None:
        for server in self.servers:
            server.end()
        self.agent.end()


class KubernetesCluster(Cluster):
    """The same on Kubernetes: a double of it with the manifests of k8s/sessions, whose containers are processes."""

    def _start_agent(self) -> Process:
        """The cluster itself takes the place of the agent."""
        self.port = free_port()
        manifests = self.folder / "manifests.yaml"
        manifests.write_text(self._manifests())
        # Receive servers come with the rights of their service account and no others.
        account = kubeconfig(f"http://127.0.0.1:{self.port}", f"{NAMESPACE}:sessions", NAMESPACE)
        (self.folder / "sessions.kubeconfig").write_text(account)
        self.settings |= {
            "BONGSU_SESSIONS_CLUSTER": "kubernetes",
            "KUBECONFIG": str(self.folder / "sessions.kubeconfig"),
        }
        node = f"edge-1:{self.settings['BONGSU_SESSIONS_CORES']}:{self.settings['BONGSU_SESSIONS_MEMORY_MB']}M"
        return Process(
            "tests.kube", self.settings, self.folder / "kube.out",
            "--port", str(self.port), "--state", str(self.folder), "--node", node, str(manifests),
        )  # fmt: skip

    def _manifests(self) -> str:
        """Those of k8s/sessions, but that receive servers are processes of the test's, and with its settings."""
        warm = dict(part.split("=") for part in self.settings["BONGSU_SESSIONS_WARM"].split(","))
        objects = []
        for path in sorted((ROOT / "k8s/sessions").glob("*.yaml")):
            for one in yaml.safe_load_all(path.read_text()):
                if one["kind"] in ("Kustomization", "Service", "PodDisruptionBudget", "NetworkPolicy"):
                    continue
                if one["kind"] == "ConfigMap":
                    one["data"] |= {k: v for k, v in self.settings.items() if k == "BONGSU_SESSIONS_IDLE_S"}
                if one["kind"] == "Deployment":
                    if one["metadata"]["name"] == "sessions":
                        continue
                    one["spec"]["replicas"] = int(warm.get(one["metadata"]["labels"]["bongsu/kind"], 0))
                objects.append(one)
        # The namespace first: nothing may be made in one that is not there.
        objects.sort(key=lambda one: one["kind"] != "Namespace")
        return yaml.safe_dump_all(objects)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the API server as its administrator."""
        headers = {"Authorization": "Bearer admin"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        answer = httpx.request(method, f"http://127.0.0.1:{self.port}{path}", json=body, headers=headers, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def drain(self, worker: str) -> None:
        self.api("POST", f"/api/v1/namespaces/{NAMESPACE}/pods/{worker}/eviction", {})

    def drain_all(self, is_drained: bool = True) -> None:
        """As `kubectl drain` and `kubectl uncordon` of every node."""
        for node in self.api("GET", "/api/v1/nodes")["items"]:
            self.api("PATCH", f"/api/v1/nodes/{node['metadata']['name']}", {"spec": {"unschedulable": is_drained}})
        for pod in self.objects("pods") if is_drained else ():
            if pod["spec"].get("nodeName"):
                self.drain(pod["metadata"]["name"])

    def objects(self, plural: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api("GET", f"/api/v1/namespaces/{NAMESPACE}/{plural}")["items"]
        return found


BACKENDS: dict[str, type[Cluster]] = {"machine": Cluster, "kubernetes": KubernetesCluster}


@contextlib.contextmanager
def running_cluster(on: str = "machine", **settings: str) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="bs-"))
    cluster = BACKENDS[on](folder, **settings)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port from 24000 to 24999 that nobody uses now; processes side by side begin at different ones."""
    return free_ports(1, 24_000)[0]


def free_ports(count: int, lowest: int) -> list[int]:
    """Ports one after the other that nobody uses now, of the thousand from `lowest`."""
    start = lowest + (os.getpid() * 37 + int(time.monotonic() * 1000)) % 900
    for first in range(start, start + 100 - count):
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return list(range(first, first + count))
    raise AssertionError("no free port")


def ask(base: str, kind: str = "scalar", client: str = "car-1", **more: Any) -> httpx.Response:
    """POST /sessions; keywords that are not headers go into the body."""
    headers = more.pop("headers", {})
    return httpx.post(f"{base}/sessions", json={"kind": kind, "client": client, **more}, headers=headers, timeout=40)


def url_of(session: dict[str, Any], **query: Any) -> str:
    """The WebSocket of a session, with its token."""
    pairs = "&".join(f"{name}={value}" for name, value in {"token": session["token"], **query}.items())
    return f"{session['url']}?{pairs}"


def text(message: dict[str, Any]) -> str:
    return json.dumps(message)
