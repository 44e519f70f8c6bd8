"""The detector's process: start-up time, memory, and time for a burst."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from unittest import mock

import av
import cv2
import psutil

from functions import Box, Frame, MotionBurst, Place, encode, new_id, utc_now

ROOT = Path(__file__).parents[1]
_READY = """
import asyncio
from detect.worker import detect, open_detector
from functions import decode

async def main():
    async with open_detector() as detector:
        print("ready", flush=True)
        with open(input(), "rb") as file:
            event = decode(file.read())
        for _ in range(5):
            await detect([event] * 4, detector)
        print("worked", flush=True)
        input()

asyncio.run(main())
"""


def burst(clip: str = "fire", moved: Box | None = None) -> MotionBurst:
    """Four frames of a demo clip, at the size and quality that motion publishes for most cameras."""
    with av.open(str(ROOT / f"local/demo/media/{clip}.mp4")) as container:
        images = [f.to_ndarray(format="bgr24", width=1280, height=720) for f in container.decode(video=0)]
    now = utc_now()
    frames = tuple(
        Frame(
            cv2.imencode(".jpg", images[90 + i * 2], [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes(),
            now + timedelta(seconds=i / 4),
        )
        for i in range(4)
    )
    place = Place(37.5, 127.0, "bench")
    return MotionBurst(id=new_id(), camera="bench", place=place, captured_at=now, frames=frames, moved=moved)


def _start(event_file: Path) -> tuple[float, float, float]:
    """Seconds until a new worker process has its network; its memory then, and after work with both networks, in MB."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _READY],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        ready_s = time.perf_counter() - begun
        idle = psutil.Process(process.pid).memory_info().rss / 1e6
        process.stdin.write(f"{event_file}\n")
        process.stdin.flush()
        process.stdout.readline()
        worked = psutil.Process(process.pid).memory_info().rss / 1e6
        process.communicate("\n")
    return ready_s, idle, worked


async def _work(count: int) -> list[list[float]]:
    """Seconds of each burst: with a fire; four such at a time; without a hazard, one pass; the same, two passes."""
    from detect import detect
    from detect.detector import HazardDetector

    detector = HazardDetector()
    moved = Box(0.4, 0.4, 0.5, 0.5)
    took: list[list[float]] = []
    for events in ([burst()], [burst()] * 4, [burst("street")], [burst("street", moved)]):
        took.append([])
        for _ in range(max(4, count // len(events))):
            begun = time.perf_counter()
            await detect(events, detector)
            took[-1].append((time.perf_counter() - begun) / len(events))
    return took


async def _cpu_per_burst(count: int) -> tuple[float, float]:
    """CPU seconds of a burst without a hazard, both passes: with every frame; with only the frames that matter."""
    from detect import detect
    from detect.detector import HazardDetector

    detector, quiet = HazardDetector(), [burst("street", Box(0.4, 0.4, 0.5, 0.5))] * 4
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for every, kept in zip((True, False), took, strict=True):
            with mock.patch("detect.detector.enough", lambda frames: frames) if every else contextlib.nullcontext():
                begun = time.process_time()
                await detect(quiet, detector)
                kept.append((time.process_time() - begun) / len(quiet))
    return statistics.median(took[0]), statistics.median(took[1])


def _side_by_side(count: int) -> tuple[float, float, float]:
    """Milliseconds a picture with two threads, JPEG to boxes: one at a time; 16 in fours; 16 in parallel in fours."""
    from models.network import HAZARD, Network, decode_jpeg

    within, lanes = Network(HAZARD, 2), Network(HAZARD, 1, lanes=2)
    jpegs = [frame.jpeg for frame in burst("street").frames] * 4

    def see(network: Network, some: list[bytes]) -> None:
        network.detect([decode_jpeg(jpeg, enough_px=network.size_px) for jpeg in some])

    def timed(work: Callable[[], object], pictures: int) -> float:
        took = []
        for _ in range(count):
            begun = time.perf_counter()
            work()
            took.append((time.perf_counter() - begun) / pictures)
        return statistics.median(took) * 1000

    fours = [jpegs[i : i + 4] for i in range(0, 16, 4)]
    with ThreadPoolExecutor(2) as threads:
        return (
            timed(lambda: see(within, jpegs[:1]), 1),
            timed(lambda: [see(within, four) for four in fours], 16),
            timed(lambda: list(threads.map(lambda four: see(lanes, four), fours)), 16),
        )


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(encode(burst()).body)
        file.flush()
        starts = [_start(Path(file.name)) for _ in range(max(3, int(9 * scale)))]
    single, within, beside = _side_by_side(max(5, int(20 * scale)))
    alone, together, once, twice = asyncio.run(_work(max(8, int(40 * scale))))
    every, needed = asyncio.run(_cpu_per_burst(max(4, int(10 * scale))))
    return [
        (
            "Detector process, start to ready (median)",
            f"{statistics.median(s for s, _, _ in starts):.2f} s",
            "<= 0.6 s",
        ),
        ("Detector process, memory when ready", f"{max(m for _, m, _ in starts):.0f} MB", "<= 200 MB"),
        ("Detector process, memory after work, both networks", f"{max(m for *_, m in starts):.0f} MB", "<= 200 MB"),
        ("Burst of 4 frames to hazard events, alone (median)", f"{statistics.median(alone[2:]) * 1000:.0f} ms", ""),
        ("Burst of 4 frames, four bursts at a time (median)", f"{statistics.median(together) * 1000:.0f} ms", ""),
        ("Burst that shows nothing, whole frames only (median)", f"{statistics.median(once) * 1000:.0f} ms", ""),
        (
            "The same, with the second pass on a crop around the motion (median)",
            f"{statistics.median(twice) * 1000:.0f} ms",
            "",
        ),
        ("CPU time of that burst, every frame inferred (median)", f"{every * 1000:.0f} ms", ""),
        ("CPU time of that burst, only the frames that matter", f"{needed * 1000:.0f} ms", ""),
        ("A picture, two threads, one at a time (median)", f"{single:.1f} ms", ""),
        ("A picture, 16 in fours, two threads within each", f"{within:.1f} ms", ""),
        ("A picture, 16 in fours, one thread each, side by side", f"{beside:.1f} ms", f"<= {single / 1.3:.1f} ms"),
    ]


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
