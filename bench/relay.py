"""Latency of the whole pipeline, cold and warm, with its real processes: motion, broker, detector, map, live stream.

One camera (a clip made from the demo's fire: quiet, then flames for a few seconds, in a loop) is watched by
`bongsu run` with the shipped manifests, but a short cool-down, so that every loop starts from zero replicas. Times come
from the trace that each event carries; the last one from a subscriber of the live stream.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av

from tests.servers import free_port

ROOT = Path(__file__).parents[1]
QUIET_S, FIRE_S, COOLDOWN_S = 14, 9, 4


@dataclass(frozen=True, slots=True)
class Sighting:
    """Seconds after the first frame of its burst was captured, for one hazard event."""

    captured_at: float
    last_frame_s: float
    taken_s: float
    detected_s: float
    pinned_s: float


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    loops = max(3, int(12 * scale))
    with tempfile.TemporaryDirectory() as folder:
        sightings = _measure(Path(folder), loops * (QUIET_S + FIRE_S) + 8)
    cold, warm = [], []
    last = woken_at = 0.0
    for s in sorted(sightings, key=lambda s: s.captured_at):
        if s.captured_at - last > QUIET_S - 3:
            cold.append(s)
            woken_at = s.captured_at + s.pinned_s
        elif s.captured_at > woken_at:  # captured while all replicas were up, not while they started
            warm.append(s)
        last = s.captured_at
    return [
        _row(f"Warm: first frame to hazard event (p95 of {len(warm)})", [s.detected_s for s in warm], "<= 1.2 s"),
        _row("Warm: last frame to hazard event (p95)", [s.detected_s - s.last_frame_s for s in warm], "<= 0.5 s"),
        _row("Warm: hazard event to live stream (p95)", [s.pinned_s - s.detected_s for s in warm], "<= 0.3 s"),
        _row(f"From zero: first frame to hazard event (p95 of {len(cold)})", [s.detected_s for s in cold], "<= 3.0 s"),
        _row("From zero: first frame to live stream (p95)", [s.pinned_s for s in cold], ""),
    ]


def _row(what: str, seconds: list[float], aim: str) -> tuple[str, str, str]:
    if not seconds:
        return what, "nothing measured", aim
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return what, f"{p95:.2f} s (median {statistics.median(ordered):.2f} s)", aim


def _measure(folder: Path, seconds: float) -> list[Sighting]:
    _write_clip(folder / "fire.mp4")
    (folder / "cameras.yaml").write_text(
        "cameras:\n  - {id: bench, url: fire.mp4, place: {lat: 37.5, lon: 127.0, name: Bench}}\n"
    )
    (folder / "keda").mkdir()
    for manifest in (ROOT / "keda").glob("*.yaml"):
        text = manifest.read_text().replace("cooldownPeriod: 10", f"cooldownPeriod: {COOLDOWN_S}")
        (folder / "keda" / manifest.name).write_text(text)
    port = free_port()
    command = "from functions.cli import main; main()"
    arguments = ["run", "--cameras", str(folder / "cameras.yaml"), "--state", str(folder / "state")]
    arguments += ["--keda", str(folder / "keda"), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        cwd=ROOT,
        # One incident for each loop, so that the live stream sends every pin.
        env={**os.environ, "PYTHONPATH": str(ROOT), "BONGSU_QUIET_S": "5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        seen = _subscribe(f"http://127.0.0.1:{port}/api/incidents/stream?after=0", seconds)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    return _sightings(folder / "state/bongsu.db", seen)


def _subscribe(url: str, seconds: float) -> dict[tuple[int, int], float]:
    """When the live stream first sent each (incident, number of sightings)."""
    seen: dict[tuple[int, int], float] = {}

    def read() -> None:
        while True:
            try:
                with urllib.request.urlopen(url, timeout=seconds + 30) as stream:
                    kind = ""
                    for line in stream:
                        if line.startswith(b"event:"):
                            kind = line[6:].strip().decode()
                        elif line.startswith(b"data:") and kind == "incident":
                            properties = json.loads(line[5:])["properties"]
                            seen.setdefault((properties["id"], properties["sightings"]), time.time())
            except OSError:
                time.sleep(0.1)

    threading.Thread(target=read, daemon=True).start()
    time.sleep(seconds)
    return seen


def _sightings(database: Path, seen: dict[tuple[int, int], float]) -> list[Sighting]:
    with closing(sqlite3.connect(database)) as db:
        stored = db.execute("SELECT incident_id, trace FROM sightings ORDER BY incident_id, recorded_at").fetchall()
    found, count, current = [], 0, None
    for incident, trace in stored:
        count = count + 1 if incident == current else 1
        current = incident
        stages = {stage["name"]: stage for stage in json.loads(trace)}
        if (incident, count) not in seen:
            continue  # the stream sends two sightings within one poll as one
        captured_at = _seconds(stages["motion"]["got_at"])
        found.append(
            Sighting(
                captured_at=captured_at,
                last_frame_s=0.75,
                taken_s=_seconds(stages["detect"]["got_at"]) - captured_at,
                detected_s=_seconds(stages["detect"]["done_at"]) - captured_at,
                pinned_s=seen[incident, count] - captured_at,
            )
        )
    return found


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).astimezone(UTC).timestamp()


def _write_clip(path: Path) -> None:
    with av.open(str(ROOT / "local/demo/media/fire.mp4")) as container:
        images = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
    burning = images[72 : 72 + FIRE_S * 10]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0", "g": "30", "crf": "20"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 10)
        for i, image in enumerate([images[10]] * (QUIET_S * 10) + burning):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    for row in rows(parser.parse_args().scale):
        print(" | ".join(row))
