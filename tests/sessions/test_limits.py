"""What the operating system keeps a worker to."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from sessions.catalogue import KINDS
from sessions.limits import HEADROOM_MB
from tests.sessions.cluster import ROOT, Cluster, KubernetesCluster

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all memory on Linux alone")


def allocate(megabytes: int) -> subprocess.CompletedProcess[str]:
    code = f"from sessions import limits; limits.apply(60); print(len(bytearray({megabytes} * 1_000_000)))"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_worker_memory_is_limited_to_its_share() -> None:
    assert allocate(60).stdout == "60000000\n"
    beyond = allocate(int(60 + HEADROOM_MB) + 10)
    assert beyond.returncode == 1
    assert beyond.stderr.endswith("MemoryError\n")


def test_worker_runs_under_its_limit(cluster: Cluster) -> None:
    if isinstance(cluster, KubernetesCluster):
        pytest.skip("the limits of a pod are its container's")
    worker = next(w for w in cluster.workers() if w.name().startswith("scalar-"))
    soft, hard = worker.rlimit(resource.RLIMIT_DATA)
    assert soft == hard
    assert soft < (KINDS["scalar"].memory_mb + HEADROOM_MB) * 1e6 + 1e9
