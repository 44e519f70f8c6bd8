"""The current state of a node: CPU, memory, disk, temperature, GPU, network and clock, from the kernel's files.

node-exporter reads the same files for Prometheus; this needs no service, so it works on a bare node too.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from edge.node.facts import SEARCHED
from edge.node.messages import HOME, send

_SAMPLE_S = 0.25
_GPU_QUERY = "utilization.gpu,memory.used,memory.total,temperature.gpu"
_ROOT = Path("/")


def read_health(request: dict[str, Any]) -> dict[str, Any]:
    """One sample, with the clock before it, because that is compared on arrival."""
    sample = take_sample()
    send({"kind": "seen", "clock": time.time()})
    return sample


def take_sample() -> dict[str, Any]:
    """One sample: sizes in bytes, shares from 0 to 1, temperatures in degrees Celsius or null without a sensor."""
    before, began = _cpu_times(), time.monotonic()
    received, sent = _network_bytes()
    time.sleep(_SAMPLE_S)
    after, lasted_s = _cpu_times(), time.monotonic() - began
    received_later, sent_later = _network_bytes()
    memory = _memory()
    disk = shutil.disk_usage(HOME if HOME.exists() else _ROOT)
    total = after[1] - before[1]
    return {
        "cpu": 1 - (after[0] - before[0]) / total if total > 0 else 0.0,
        "load": float(_read(_ROOT / "proc/loadavg").split()[0]),
        "memory_bytes": memory["MemTotal"],
        "memory_free_bytes": memory["MemAvailable"],
        "disk_bytes": disk.total,
        "disk_free_bytes": disk.free,
        "temperature": _temperature(),
        "gpu": _gpu(),
        "received_bytes_per_s": max(0.0, (received_later - received) / lasted_s),
        "sent_bytes_per_s": max(0.0, (sent_later - sent) / lasted_s),
        "uptime_s": float(_read(_ROOT / "proc/uptime").split()[0]),
    }


def _read(path: Path) -> str:
    return path.read_text(errors="replace")


def _cpu_times() -> tuple[int, int]:
    """Idle and total time of all CPUs, in ticks."""
    ticks = [int(value) for value in _read(_ROOT / "proc/stat").split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _memory() -> dict[str, int]:
    rows = (line.split() for line in _read(_ROOT / "proc/meminfo").splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) > 1}


def _network_bytes() -> tuple[int, int]:
    """Bytes received and sent on all interfaces except the loopback."""
    received = sent = 0
    for line in _read(_ROOT / "proc/net/dev").splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() != "lo":
            fields = rest.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def _temperature() -> float | None:
    """The temperature of the hottest sensor of the kernel."""
    found = []
    for pattern in ("sys/class/thermal/thermal_zone*/temp", "sys/class/hwmon/hwmon*/temp*_input"):
        for file in _ROOT.glob(pattern):
            try:
                found.append(int(_read(file)) / 1000)
            except (OSError, ValueError):  # a sensor that is off
                continue
    return max((t for t in found if -50 < t < 200), default=None)


def _gpu() -> dict[str, float] | None:
    """The first NVIDIA GPU, as nvidia-smi reports it."""
    program = shutil.which("nvidia-smi", path=SEARCHED)
    if program is None:
        return None
    command = [program, f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=True)
        values = [float(value) for value in done.stdout.decode().splitlines()[0].split(",")]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return {"used": values[0] / 100, "memory_used_bytes": values[1] * 2**20, "memory_bytes": values[2] * 2**20,
            "temperature": values[3]}  # fmt: skip
