"""What the detector confirms on labelled clips, rightly and falsely, burst by burst: the source of its thresholds.

    BONGSU_DATA=FOLDER python -m bench.confirm

FOLDER holds `video/` (the labelled clips) and `demo/` (frame sequences). A burst is 4 frames 250 ms apart, each second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2

from detect.model import HAZARD, Image, Network
from detect.rules import RULES, confirm
from functions import Detection

# clip, hazard, from, to (seconds, as labelled); "" where nothing is to be found
CLIPS = [
    ("adith_cctv.mp4", "", 0, 0),
    ("intel_car-detection.mp4", "", 0, 0),
    ("intel_one-by-one.mp4", "", 0, 0),
    ("dvr_traffic_camera.mp4", "", 0, 0),
    ("dvr_issue53_brightness_change.avi", "", 0, 0),
    ("mcv_traffic.avi", "", 0, 0),
    ("um_crash_1.mp4", "accident", 7.2, 13.9),
    ("um_Fire2.mp4", "fire", 3.3, 13.4),
    ("um_Med.mp4", "gun", 3.2, 9.5),
    ("capo_knife-gun.mp4", "knife", 0, 12.6),
    ("capo_knife-gun.mp4", "gun", 0, 12.6),
]
THRESHOLDS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


def frames_of(path: Path, per_second: float = 4) -> Iterator[tuple[float, Image]]:
    """Frames of a clip at an even rate, with their second."""
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    due, number = 0.0, 0
    while True:
        ok, image = capture.read()
        if not ok:
            return
        if number / fps >= due:
            yield number / fps, image
            due += 1 / per_second
        number += 1


def main() -> None:
    """Print a table: bursts confirmed at each threshold, per clip and hazard."""
    folder = Path(os.environ.get("BONGSU_DATA") or sys.exit("set BONGSU_DATA to the folder of labelled clips"))
    network = Network(HAZARD)
    found: dict[str, list[tuple[float, list[Detection]]]] = {}
    for name in dict.fromkeys(c[0] for c in CLIPS):
        found[name] = [(at, network.detect([image])[0]) for at, image in frames_of(folder / "video" / name)]
    for scene in ("accident", "fire", "gun"):
        pictures = sorted((folder / "demo" / scene).glob("*.jpg"))
        found[f"demo/{scene}"] = [(i / 4, network.detect([cv2.imread(str(p))])[0]) for i, p in enumerate(pictures)]
    print(f"{'clip':36} {'hazard':10} {'bursts':>6}  " + " ".join(f"{t:5}" for t in THRESHOLDS))
    windows = {(name, hazard): (begin, end) for name, hazard, begin, end in CLIPS}
    windows |= {(f"demo/{s}", s): (0, 1e9) for s in ("accident", "fire", "gun")}
    for name, frames in found.items():
        bursts = [frames[i : i + 4] for i in range(0, len(frames) - 3, 4)]
        for label in RULES:
            if (name, label) in windows:
                begin, end = windows[name, label]
                _print_row(name, label, label, [b for b in bursts if begin <= b[0][0] <= end])
                # Found before it is there, it is as false as anywhere else.
                bursts_without = [b for b in bursts if b[-1][0] < begin - 0.5]
            else:
                bursts_without = bursts
            _print_row(name, label, f"({label})", bursts_without, only_hits=True)
    print("In brackets: nothing of the kind is there, each count is a false alarm.")


def _print_row(
    name: str, label: str, told: str, bursts: list[list[tuple[float, list[Detection]]]], *, only_hits: bool = False
) -> None:
    hits = [
        sum(any(c.hazard == label for c in confirm([d for _, d in b], {label: threshold})) for b in bursts)
        for threshold in THRESHOLDS
    ]
    if any(hits) or not only_hits:
        print(f"{name:36} {told:10} {len(bursts):6}  " + " ".join(f"{h:5}" for h in hits))


if __name__ == "__main__":
    main()
