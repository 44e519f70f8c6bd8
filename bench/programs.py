"""DVR-Scan on the labelled clips, scored as the gate is in the same run (`bench/gate.py`), with the CPU time of each.

    python -m venv /tmp/dvr && /tmp/dvr/bin/pip install dvr-scan opencv-python-headless
    BONGSU_DATA=path/to/data python -m bench.programs /tmp/dvr/bin/dvr-scan [--clips car-detection …]

DVR-Scan has an environment of its own, and Bongsu does not depend on it. It runs with its defaults (MOG2, every frame)
but without the time that it adds around an event, and a check counts as flagged if an event covers it. The gate's CPU
time is that of decoding every frame and of all checks, without the start of the process, which DVR-Scan's includes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from bench.gate import CLIPS, HEAD, Labels, Looks, Score, looks_of_clip, scored
from bench.peers import Peer
from motion.gate import Gate
from motion.pixels import Luma

Events = list[tuple[float, float]]


class Recorded:
    """Answers from events that a program has found in the whole clip."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def detect(self, luma: Luma, at_s: float) -> bool:
        """Whether an event covers this time."""
        return any(start_s <= at_s <= end_s for start_s, end_s in self._events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvr_scan", type=Path)
    parser.add_argument("--clips", nargs="+", default=[""], help="only clips whose name holds one of these")
    chosen = parser.parse_args()
    data = Path(
        os.environ.get("BONGSU_DATA") or sys.exit("bench/programs.py: set BONGSU_DATA to the folder with video/")
    )
    totals = {"this gate": Score(), "DVR-Scan": Score()}
    print(f"| clip | {HEAD.replace('ms a look', 'CPU s')} |\n|{'---|' * 7}")
    for name, labels in CLIPS.items():
        path = data / "video" / name
        if not path.is_file() or not any(part in name for part in chosen.clips):
            continue
        for way, score in both(path, labels, chosen.dvr_scan).items():
            totals[way].add(score)
            print(row(f"{name}, {way}", score), flush=True)
    for way, score in totals.items():
        print(row(f"all of these clips, {way}", score))


def row(what: str, score: Score) -> str:
    """A line of the table."""
    cells = score.row.rpartition("|")[0].rpartition("|")[0]
    return f"| {what} | {cells}| {score.cpu_s:.1f} |"


def both(path: Path, labels: Labels, program: Path) -> dict[str, Score]:
    """The gate's score and that of DVR-Scan on one clip; CPU time includes decoding."""
    began_s = time.process_time()
    looks = looks_of_clip(path)
    decoded_s = time.process_time() - began_s
    gate = scored(Gate(), looks, labels)
    gate.cpu_s += decoded_s
    began_s = children_s()
    events = scanned(program, path)
    taken_s = children_s() - began_s
    return {"this gate": gate, "DVR-Scan": of_events(events, looks, labels, taken_s)}


def of_events(events: Events, looks: Looks, labels: Labels, cpu_s: float) -> Score:
    """The score of a program that found these events."""
    peer: Peer = Recorded(events)
    score = scored(peer, looks, labels)
    score.cpu_s = cpu_s
    return score


def scanned(program: Path, clip: Path) -> Events:
    """The events that DVR-Scan finds, seconds from the start.

    Raises:
        RuntimeError: it failed, with its last line.
    """
    command = [str(program), "-i", str(clip), "--scan-only", "-tb", "0s", "-tp", "0s", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{clip.name}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    times = [seconds(text) for text in done.stdout.strip().split(",") if text]
    return list(zip(times[::2], times[1::2], strict=True))


def seconds(text: str) -> float:
    """A time as in `00:01:02.500`."""
    hours, minutes, rest = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def children_s() -> float:
    """CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
