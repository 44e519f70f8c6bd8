"""Memory and processor time that each pod's process uses, beside what its manifest requests.

Real servers (RabbitMQ, MariaDB) and the services of a small site as processes of their own, as pods run them: ten
cameras that always show something, which no site has for long, and readers of the map. `python -m bench.requests`.
Requests decide which pod is placed on a full node, so they must be neither guesses nor wishes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from functions import push_keys
from functions.broker import connect
from functions.signature import new_private_key, public_key_of
from functions.topology import MOTION, queues
from local.manifest import read_workloads
from tests.servers import MariaDB, Rabbit

ROOT = Path(__file__).parents[1]
CAMERAS = 10
CLIPS = ("accident", "fire", "gun", "motorway", "street")
SAMPLE_S = 0.5
MIB = 2**20

MANIFESTS = {
    "rabbitmq": "k8s/base/rabbitmq.yaml",
    "mysql": "k8s/base/mysql.yaml",
    "api": "k8s/base/api.yaml",
    "motion": "k8s/base/motion.yaml",
    "detect": "keda/patches/detect.yaml",
    "map": "keda/patches/pod.yaml",
    "caption": "keda/patches/caption.yaml",
    "post": "keda/patches/pod.yaml",
    "push": "keda/patches/pod.yaml",
}
"""Where each service's request is written."""
COMMANDS = {
    "api": ["api.server"],
    "motion": ["motion"],
    "detect": ["functions", "detect.worker"],
    "map": ["functions", "notify.map"],
    "caption": ["functions", "notify.caption"],
    "post": ["functions", "notify.post"],
    "push": ["functions", "notify.push"],
}


@dataclass
class Used:
    """What one service used."""

    processes: list[psutil.Process]
    peak_bytes: int = 0
    cpu_s: float = 0.0
    handled: int = 0
    """Events, by its log."""
    seconds: float = 0.0
    started_at: float = field(default_factory=time.monotonic)

    def sample(self) -> None:
        """Read memory and processor time once more, of the process and its children."""
        family = [one for process in self.processes for one in (process, *process.children(recursive=True))]
        memory, cpu_s = 0, 0.0
        for process in family:
            try:
                memory += process.memory_full_info().pss
                times = process.cpu_times()
                cpu_s += times.user + times.system
            except psutil.NoSuchProcess:
                continue
        self.peak_bytes = max(self.peak_bytes, memory)
        self.cpu_s = max(self.cpu_s, cpu_s)
        self.seconds = time.monotonic() - self.started_at


def requested(manifest: Path) -> tuple[float, float]:
    """Cores and MiB that the first container of a manifest or a patch requests.

    Raises:
        ValueError: the file requests no processor.
    """
    for found in _requests(list(yaml.safe_load_all(manifest.read_text()))):
        cpu, memory = str(found["cpu"]), str(found["memory"])
        return float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu), float(memory.removesuffix("Mi"))
    raise ValueError(f"{manifest}: no container requests a processor")


def _requests(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(inner := node.get("requests"), dict) and "cpu" in inner:
            yield inner
        for value in node.values():
            yield from _requests(value)
    elif isinstance(node, list):
        for value in node:
            yield from _requests(value)


def measure(home: Path, seconds: float) -> dict[str, Used]:
    """Run the site for a while; what each service used, by name.

    Args:
        home: a folder with a short path, in which servers keep their data.
        seconds: how long, after all services were started.
    """
    rabbit, maria = Rabbit(home / "rabbit", has_management=True), MariaDB(home / "maria")
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        rabbit.start()
        maria.start()
        asyncio.run(_declare(rabbit.url))
        environment = _environment(home, rabbit.url, maria.url)
        for name, command in COMMANDS.items():
            started[name] = subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, cwd=ROOT,
                stdout=(home / f"{name}.log").open("wb"), stderr=subprocess.STDOUT,
            )  # fmt: skip
        servers = {"rabbitmq": rabbit.pid, "mysql": maria.pid}
        pids = servers | {name: process.pid for name, process in started.items()}
        used = {name: Used([psutil.Process(pid)]) for name, pid in pids.items()}
        _watch(used, f"http://127.0.0.1:{environment['BONGSU_HTTP_PORT']}", seconds)
        for name, process in started.items():
            log = (home / f"{name}.log").read_text()
            if process.poll() is not None:
                raise SystemExit(f"{name} ended before its time:\n{log[-2000:]}")
            used[name].handled = log.count("event_handled")
        return used
    finally:
        for process in started.values():
            process.send_signal(signal.SIGTERM)
        for process in started.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:  # its numbers are taken; the servers must not stay behind
                process.kill()
        maria.stop()
        rabbit.stop()


async def _declare(url: str) -> None:
    broker = await connect(url)
    names = [MOTION, *(name for workload in read_workloads(ROOT / "keda") for name in workload.rule.queues)]
    await broker.declare(queues(names))
    await broker.close()


def _environment(home: Path, broker_url: str, database_url: str) -> dict[str, str]:
    key = new_private_key()
    lines = [
        f"  - {{id: camera-{i}, url: {ROOT}/local/demo/media/{CLIPS[i % len(CLIPS)]}.mp4, "
        f"place: {{lat: 37.{i}, lon: 127.0, name: Crossing {i}}}}}"
        for i in range(CAMERAS)
    ]
    (home / "cameras.yaml").write_text("\n".join(["cameras:", *lines, ""]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {
        **os.environ, "PYTHONPATH": str(ROOT), "BONGSU_BROKER_URL": broker_url, "BONGSU_DATABASE_URL": database_url,
        "BONGSU_CAMERAS": str(home / "cameras.yaml"), "BONGSU_SNAPSHOT_URL": str(home / "snapshots"),
        "BONGSU_HTTP_PORT": str(port), "BONGSU_CAPTION_KEY": key, "BONGSU_CAPTION_PUBLIC_KEYS": public_key_of(key),
        "BONGSU_PUSH_KEY": push_keys.new_key()[0], "BONGSU_PUSH_CONTACT": "mailto:bench@city.example",
    }  # fmt: skip


def _watch(used: dict[str, Used], api: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    threading.Thread(target=_read_map, args=(api, end), daemon=True).start()
    while time.monotonic() < end:
        for one in used.values():
            one.sample()
        time.sleep(SAMPLE_S)


def _read_map(api: str, end: float) -> None:
    """A reader who asks for the page's lists twice a second."""
    while time.monotonic() < end:
        for path in ("/api/incidents", "/api/cameras", "/feed.json"):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(api + path, timeout=10).read()
        time.sleep(0.5)


def rows(seconds: float = 120.0) -> list[tuple[str, ...]]:
    """(service, events handled, mean of cores, request, MiB at most, request), one for each service."""
    with tempfile.TemporaryDirectory(prefix="bongsu-") as folder:
        used = measure(Path(folder), seconds)
    table: list[tuple[str, ...]] = []
    for name, one in used.items():
        cores, memory = requested(ROOT / MANIFESTS[name])
        mean, peak = one.cpu_s / one.seconds, one.peak_bytes / MIB
        table.append((name, str(one.handled or ""), f"{mean:.2f}", f"{cores:g}", f"{peak:.0f}", f"{memory:g}"))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    print("| service | events | cores, mean | requested | MiB (PSS), most | requested |\n|---|---|---|---|---|---|")
    for row in rows(parser.parse_args().seconds):
        print(f"| {' | '.join(row)} |")
