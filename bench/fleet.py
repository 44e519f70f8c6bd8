"""Measures a fleet: distribution over a shaped link, a mirror, resumption, `apply`, the probe; with rsync as the peer.

sudo python -m bench.fleet --nodes 50          or: make bench-fleet; needs root, docker-registry, sshd, rsync
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from bench.fleet_network import MIRROR, REGISTRY, LinkedNode, LinkedRegistry, network, sent_bytes, shape
from edge.request import BOOTSTRAP, sources
from tests.edge.conftest import Fleet
from tests.edge.servers import make_ssh_key

_MEGABITS = 100
_SAMPLE_S = 10.0
"""`fleet serve` samples a node as often."""
_GIVE_UP_S = 1800
Row = tuple[str, str, str]


class FleetBench:
    """A registry, its mirror and nodes, and what is measured on them."""

    def __init__(self, at: Path, count: int, size: int, parallel: int) -> None:
        self._at, self._count, self._size, self._parallel = at, count, size, parallel
        self.fleet = Fleet(at / "fleet", make_ssh_key(at / "id"))
        self._registry = LinkedRegistry(at / "registry", REGISTRY, "r")
        self._mirror = LinkedRegistry(at / "mirror", MIRROR, "m", self._registry)
        self._nodes = [LinkedNode(at / f"node-{number}", self.fleet.key, number) for number in range(count)]
        shape(self._registry.namespace, _MEGABITS)
        self._started: list[LinkedNode | LinkedRegistry] = []

    def __enter__(self) -> FleetBench:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for server in (self._registry, self._mirror, *self._nodes):
            self._started.append(server)
            server.start()
        self.fleet.environment |= self._registry.environment
        self.fleet.ok("models", "keygen")
        for number, node in enumerate(self._nodes):
            self.fleet.ok(
                "nodes", "add", f"n{number}", "--ssh", node.address, "--key", str(self.fleet.key), "--host-key",
                node.fingerprint,
            )  # fmt: skip

    def __exit__(self, *_: object) -> None:
        for server in self._started:
            server.stop()

    def measure(self) -> list[Row]:
        """All rows."""
        return [
            *self._from_registry(), *self._with_rsync(), *self._from_mirror(), self._resumed(), self._applied(),
            *_probe(),
        ]  # fmt: skip

    @property
    def _link_s(self) -> float:
        """What the link takes for the model, once for each node."""
        return self._count * self._size * 8 / (_MEGABITS * 1e6)

    def _from_registry(self) -> list[Row]:
        self._push("1")
        took_s, moved = self._timed(lambda: self._deploy("1"))
        share = f"**{took_s / self._link_s:.2f}x** of the link's {self._link_s:.1f} s; {moved / 1e6:.0f} MB"
        share = f"{took_s:.1f} s, {share}"
        return [(f"{self._count} nodes have {self._size / 1e6:.0f} MB from the registry", share, "<= 2x")]

    def _with_rsync(self) -> list[Row]:
        model = self._at / "model-1/weights.onnx"

        def copy() -> None:
            waiting, running = list(self._nodes), list[subprocess.Popen[bytes]]()
            end = time.monotonic() + _GIVE_UP_S
            while (waiting or running) and time.monotonic() < end:
                running = [process for process in running if process.poll() is None]
                while waiting and len(running) < self._parallel:
                    running.append(self._rsync(model, waiting.pop()))
                time.sleep(0.02)

        took_s, moved = self._timed(copy)
        said = f"{took_s:.1f} s, {took_s / self._link_s:.2f}x; {moved / 1e6:.0f} MB"
        return [("the same with rsync over SSH, as many at a time", said, "")]

    def _rsync(self, file: Path, node: LinkedNode) -> subprocess.Popen[bytes]:
        ssh = f"ssh -i {self.fleet.key} -p {node.port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        command = ["ip", "netns", "exec", self._registry.namespace, "rsync", "-e", ssh, str(file)]
        target = f"root@{node.host}:{node.user_home}/copy.onnx"
        return subprocess.Popen([*command, target], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _from_mirror(self) -> list[Row]:
        self._push("2")
        before = dict(self.fleet.environment)
        self.fleet.environment |= self._mirror.environment
        try:
            took_s, moved = self._timed(lambda: self._deploy("2", "--canary", "1"))
        finally:
            self.fleet.environment = before
        said = f"{took_s:.1f} s, **{took_s / self._link_s:.2f}x**; the link carried {moved / self._size:.2f} models"
        return [("the same through the site's mirror, one node first", said, "<= 1.2x")]

    def _resumed(self) -> Row:
        self._push("3")
        node = self._nodes[0]
        deploying = self.fleet.start("models", "deploy", "hazard:3", "--nodes", "n0")
        end = time.monotonic() + 120
        while _part_bytes(node) < self._size // 2 and deploying.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        deploying.kill()
        deploying.wait()
        node.kill()
        node.start()
        _, moved = self._timed(lambda: self.fleet.ok("models", "deploy", "hazard:3", "--nodes", "n0"))
        return ("a transfer killed at half moves, when resumed", f"{moved / self._size:.0%} of the bytes", "< 60 %")

    def _applied(self) -> Row:
        wanted = {
            "nodes": {f"n{i}": {"ssh": n.address, "key": str(self.fleet.key)} for i, n in enumerate(self._nodes)},
            "models": [{"version": "hazard:3", "nodes": "n0"}],
        }
        (self._at / "fleet.yaml").write_text(yaml.safe_dump(wanted))
        took = []
        for _ in range(3):
            begun = time.monotonic()
            applying = self.fleet.start("fleet", "apply", str(self._at / "fleet.yaml"))
            _, said = applying.communicate(timeout=120)
            assert applying.returncode == 0 and "nothing to do" in said, said
            took.append(time.monotonic() - begun)
        return (f"`fleet apply` of {self._count} nodes without a change", f"{min(took):.2f} s", "< 2 s")

    def _push(self, version: str) -> None:
        folder = self._at / f"model-{version}"
        folder.mkdir()
        (folder / "weights.onnx").write_bytes(random.Random(version).randbytes(self._size))
        (folder / "model.yaml").write_text(f"name: hazard\nversion: '{version}'\nweights: weights.onnx\nlicence: MIT\n")
        self.fleet.ok("models", "push", str(folder), "--sign")

    def _deploy(self, version: str, *more: str) -> None:
        to = ("--nodes", "all", "--max-parallel", str(self._parallel))
        deploying = self.fleet.start("models", "deploy", f"hazard:{version}", *to, *more)
        said, errors = deploying.communicate(timeout=_GIVE_UP_S)
        assert deploying.returncode == 0, errors[-1000:]
        assert len(re.findall(r"in use", said)) == self._count, said

    def _timed(self, work: Callable[[], object]) -> tuple[float, int]:
        """Seconds, and bytes over the link."""
        before, begun = sent_bytes(self._registry.namespace), time.monotonic()
        work()
        return time.monotonic() - begun, sent_bytes(self._registry.namespace) - before


def _part_bytes(node: LinkedNode) -> int:
    parts = list((node.user_home / ".bongsu/blobs/sha256").glob("*.part"))
    return sum(part.stat().st_size for part in parts)


def _probe() -> list[Row]:
    """Memory and CPU of what runs on a node for one sample."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    rounds, peak_kb = 5, 0
    for _ in range(rounds):
        probing = subprocess.Popen(
            ["/usr/bin/python3", "-u", "-c", BOOTSTRAP], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert probing.stdin is not None
        probing.stdin.write(sources() + b'\n{"command": "health"}\n')
        probing.stdin.close()
        while probing.poll() is None:  # not ru_maxrss, which counts what this process had before the other began
            peak_kb = max(peak_kb, _peak_kb(probing.pid))
            time.sleep(0.01)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / rounds
    return [
        ("the probe on a node: memory, at its peak", f"{peak_kb / 1000:.0f} MB", "< 30 MB"),
        ("the probe on a node: CPU, a sample in 10 s", f"{used_s / _SAMPLE_S:.1%} of a core", "< 1 %"),
    ]


def _peak_kb(pid: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        program = Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return 0
    return int(found[1]) if found is not None and program != Path("/proc/self/exe").readlink() else 0


def main() -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--nodes", type=int, default=50, help="how many, 200 at most")
    parser.add_argument("--megabytes", type=float, default=20.0, help="size of the model")
    parser.add_argument("--parallel", type=int, default=8, help="nodes at a time")
    chosen = parser.parse_args()
    if os.geteuid() or not 1 <= chosen.nodes <= 200:
        parser.error("network namespaces need root" if os.geteuid() else "--nodes is from 1 to 200")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it leaves no namespace and no server either
    size = int(chosen.megabytes * 1e6)
    with (
        tempfile.TemporaryDirectory(prefix="bongsu-fleet-") as at,
        network(),
        FleetBench(Path(at), chosen.nodes, size, chosen.parallel) as bench,
    ):
        measured = bench.measure()
    print("| what | measured | aim |\n|---|---|---|")
    for row in measured:
        print(f"| {' | '.join(row)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
