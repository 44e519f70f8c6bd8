"""Motion with many RTSP cameras in one process: CPU, memory, start and age of the newest picture, for each camera.

    python -m bench.cameras [--cameras 1 10 30 100] [--seconds 60] [--clip FILE]

A server in a process of its own sends a clip in a loop over loopback, without decoding it; without `--clip` that is a
quiet 1080p camera at 15 frames/s with a key frame every 1.5 s. Motion is a process too, and the CPU is its own alone:
it is counted from when the cameras are at rest, which is 35 s after the last one is live.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from bench.motion import draw_quiet
from bench.streams import memory_kb
from motion.burst import SETTLING_S, CapturedBurst
from motion.camera import Burst, Camera, Place
from motion.decoding import FRAMES_SPARED
from motion.stream import FRAMES_DROPPED, FRAMES_READ
from motion.streams import CameraStreams
from tests.servers import free_port

_TO_REST_S = 10.0  # after settling, until the cameras are at rest
_LIVE_WITHIN_S = 120.0
_HEAD = (
    "cameras", "all live after s", "CPU, cores", "for each, % of a core", "memory MB", "for each more, MB",
    "oldest picture s", "frames dropped", "decoded", "bursts",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 10, 30, 100])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clip", type=Path, help="H.264 in MP4, without B frames")
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.watch:
        print(json.dumps(watch(chosen.watch, chosen.cameras[0], chosen.seconds)))
        return
    with tempfile.TemporaryDirectory(prefix="bongsu-") as folder:
        clip = Path(folder) / "clip.mp4"
        if chosen.clip is None:
            draw_quiet(clip)
        else:
            shutil.copyfile(chosen.clip, clip)
        print(f"| {' | '.join(_HEAD)} |\n|{'---|' * len(_HEAD)}")
        with served(Path(folder)) as url:
            alone: tuple[int, float] | None = None
            for count in chosen.cameras:
                seen = measured(url, count, chosen.seconds)
                alone = alone or (count, seen["memory_mb"])
                print(row(count, seen, alone), flush=True)


def row(count: int, seen: dict[str, float], alone: tuple[int, float]) -> str:
    """A line of the table; memory for each camera is what each adds to the first line's."""
    more = count - alone[0]
    added = f"{(seen['memory_mb'] - alone[1]) / more:.1f}" if more > 0 else "-"
    decoded = seen["read"] / max(1.0, seen["read"] + seen["spared"])
    return (
        f"| {count} | {seen['live_s']:.1f} | {seen['cores']:.3f} | {seen['cores'] / count:.2%} "
        f"| {seen['memory_mb']:.0f} | {added} | {seen['oldest_s']:.1f} | {seen['dropped']:.0f} | {decoded:.0%} "
        f"| {seen['bursts']:.0f} |"
    )


def measured(url: str, count: int, seconds: float) -> dict[str, float]:
    """Watch so many cameras in a new process.

    Raises:
        RuntimeError: it failed, with its last line.
    """
    command = [
        sys.executable,
        "-m",
        "bench.cameras",
        "--watch",
        url,
        "--cameras",
        str(count),
        "--seconds",
        str(seconds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{count} cameras: {done.stderr.strip().splitlines()[-1]}")
    seen: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seen


def watch(url: str, count: int, seconds: float) -> dict[str, float]:
    """In the process that is measured: read the cameras, and return what was seen of them."""
    _allow_files(count)
    bursts: list[CapturedBurst] = []
    names = [f"cam-{number}" for number in range(count)]
    began_s = time.monotonic()
    cameras = [_start(name, url, bursts) for name in names]
    while not all(camera.is_live for camera in cameras):
        if time.monotonic() - began_s > _LIVE_WITHIN_S:
            raise RuntimeError(f"{sum(not c.is_live for c in cameras)} cameras are not live in {_LIVE_WITHIN_S:g} s")
        _wait(cameras, 0.1)
    live_s = time.monotonic() - began_s
    _wait(cameras, SETTLING_S + _TO_REST_S)
    before, cpu_s, rest_s = _counts(names), time.process_time(), time.monotonic()
    oldest_s = _wait(cameras, seconds)
    lasted_s, cpu_s = time.monotonic() - rest_s, time.process_time() - cpu_s
    after = {name: value - before[name] for name, value in _counts(names).items()}
    memory_mb = memory_kb(os.getpid()) / 1000
    for camera in cameras:
        camera.stop()
    return after | {
        "live_s": live_s, "cores": cpu_s / lasted_s, "memory_mb": memory_mb, "oldest_s": oldest_s,
        "bursts": float(len(bursts)),
    }  # fmt: skip


def _start(name: str, url: str, bursts: list[CapturedBurst]) -> CameraStreams:
    place = Place(lat=0.0, lon=0.0, name="bench")
    camera = Camera(id=name, url=SecretStr(url), place=place, burst=Burst(scene_interval_s=0))
    streams = CameraStreams(camera, bursts.append, lambda state: None)
    streams.start()
    return streams


def _wait(cameras: list[CameraStreams], seconds: float) -> float:
    """Keep watch for so long; returns the greatest age of any camera's newest picture."""
    end_s, oldest_s = time.monotonic() + seconds, 0.0
    while (now_s := time.monotonic()) < end_s:
        for camera in cameras:
            camera.watch()
            if camera.last_frame_at_s is not None:
                oldest_s = max(oldest_s, now_s - camera.last_frame_at_s)
        time.sleep(min(0.5, max(0.0, end_s - time.monotonic())))
    return oldest_s


def _counts(names: list[str]) -> dict[str, float]:
    counters = {"read": FRAMES_READ, "dropped": FRAMES_DROPPED, "spared": FRAMES_SPARED}
    return {
        key: sum(sample.value for metric in counter.collect() for sample in metric.samples if _is_of(sample, names))
        for key, counter in counters.items()
    }


def _is_of(sample: object, names: list[str]) -> bool:
    labels: dict[str, str] = getattr(sample, "labels", {})
    return str(getattr(sample, "name", "")).endswith("_total") and labels.get("camera") in names


def _allow_files(count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(1024, 8 * count)), hard))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """An RTSP server for the clip in a folder; its address, by which the clip is played without end."""
    port, control = free_port(), free_port()
    command = Path(sys.executable).parent / "rtsp-server"
    ports = ["--port", str(port), "--control-port", str(control)]
    server = subprocess.Popen(
        [str(command), "--dir", str(folder), "--host", "127.0.0.1", *ports],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_port(port)
        yield f"rtsp://127.0.0.1:{port}/clip.mp4?play_count=0"
    finally:
        server.kill()
        server.wait()


def _await_port(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the RTSP server did not start: pip install -e '.[dev]'")


if __name__ == "__main__":
    main()
