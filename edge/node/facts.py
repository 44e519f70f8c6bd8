"""Facts about a node: architecture, memory, disk, GPU and system, from the kernel's files."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from edge.node.messages import HOME

_CPUS = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "riscv64": "riscv64"}
_RUNTIMES = ("k3s", "containerd", "docker", "podman")
SEARCHED = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/bin"
"""Commands over SSH get a short PATH."""


def read_facts(request: dict[str, Any]) -> dict[str, Any]:
    """The facts about this machine."""
    disk = shutil.disk_usage(_existing(HOME))
    return {
        "architecture": architecture(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk_bytes": disk.total,
        "disk_free_bytes": disk.free,
        "gpu": _gpu(),
        "system": _system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": openssl_version(),
        "container_runtime": next((r for r in _RUNTIMES if shutil.which(r, path=SEARCHED)), ""),
        "clock": time.time(),
    }


def architecture() -> str:
    """The CPU's architecture by Debian's names, which OCI uses too."""
    return _CPUS.get(platform.machine(), platform.machine())


def openssl_version() -> str:
    """Such as `OpenSSL 3.0.17`; empty if it is not installed."""
    try:
        done = subprocess.run(["openssl", "version"], stdout=subprocess.PIPE, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return " ".join(done.stdout.decode(errors="replace").split()[:2])


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _gpu() -> str:
    board = Path("/proc/device-tree/model")
    if board.is_file() and b"NVIDIA" in (model := board.read_bytes()):
        return model.decode(errors="replace").strip("\0")
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return ""


def _system() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return platform.system()
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "Linux")
