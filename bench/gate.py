"""How selective the motion gate is: recall and false motion on labelled clips, as a Markdown table.

    BONGSU_DATA=path/to/data python -m bench.gate [--sensitivity 0.5]

BONGSU_DATA holds the folders `video/` and `demo/`. A look is five a second. An interval counts as caught if motion is
reported in it or half a second around it (labels err by as much); the delay counts from its start, or from the end of
the gate's warm-up where the clip begins with motion. Edges of half a second are not scored in `false share`, the part
of the looks at quiet that report motion, nor in `true share`, the same of busy intervals.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from functions.event import utc_now
from motion.burst import LOOK_S
from motion.gate import CALIBRATION_S, Gate
from motion.look import GateSettings
from motion.picture import Picture

EDGE_S = 0.5
SCENE_QUIET_S = 3.0
Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Labels:
    """When something moves in a clip, and when nothing does, in seconds."""

    busy: Spans
    quiet: Spans = ()


CLIPS = {
    "adith_cctv.mp4": Labels(((0, 9), (11, 24.5), (61, 64.7)), ((26.5, 30), (44, 60))),
    "intel_car-detection.mp4": Labels(
        ((4.5, 8.6), (14.5, 19), (25.3, 27.8)), ((0.5, 4), (9.5, 14), (19.7, 25), (28.5, 30.1))
    ),
    "dvr_issue53_brightness_change.avi": Labels((), ((0, 4.9),)),
    "dvr_traffic_camera.mp4": Labels(((0, 23),)),
    "mcv_traffic.avi": Labels(((0, 3.4),)),
    "um_crash_1.mp4": Labels(((6.7, 7.0),)),
    "um_Fire2.mp4": Labels(((3.3, 13.4),)),
    "um_Med.mp4": Labels(((3.2, 9.5),)),
    "capo_knife-gun.mp4": Labels(((0, 12.6),)),
}
SCENES = {"accident": 5, "fire": 0, "gun": 0}  # the first picture in which something moves
Looks = list[tuple[float, NDArray[np.uint8]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensitivity", type=float, default=GateSettings().sensitivity)
    chosen = parser.parse_args()
    data = Path(os.environ.get("BONGSU_DATA") or sys.exit("bench/gate.py: set BONGSU_DATA to the folder with video/"))
    print(f"Gate at sensitivity {chosen.sensitivity}, {1 / LOOK_S:g} looks a second\n")
    print("| clip | intervals caught | worst delay s | true share | false share | ms a look |")
    print("|---|---|---|---|---|---|")
    for name, labels in CLIPS.items():
        if (data / "video" / name).is_file():
            print(row(name, looks_of_clip(data / "video" / name), labels, chosen.sensitivity))
    for name, first in SCENES.items():
        if (data / "demo" / name).is_dir():
            looks = looks_of_scene(data / "demo" / name)
            print(
                row(
                    f"demo {name}", looks, Labels(((SCENE_QUIET_S + first * LOOK_S, looks[-1][0]),)), chosen.sensitivity
                )
            )


def row(name: str, looks: Looks, labels: Labels, sensitivity: float) -> str:
    gate = Gate(GateSettings(sensitivity))
    began = time.process_time()
    seen = [(at_s, bool(gate.see(luma, at_s))) for at_s, luma in looks]
    ms = (time.process_time() - began) / len(looks) * 1000
    delays = [delay_s(seen, start, end) for start, end in labels.busy]
    caught = [delay for delay in delays if delay is not None]
    worst = f"{max(caught):.1f}" if caught else "-"
    return (
        f"| {name} | {len(caught)} of {len(delays)} | {worst} | {share(seen, labels.busy)} "
        f"| {share(seen, labels.quiet)} | {ms:.2f} |"
    )


def delay_s(seen: list[tuple[float, bool]], start_s: float, end_s: float) -> float | None:
    """Seconds from the start of an interval (from the end of the warm-up, if that is later) to the first report."""
    start_s = max(start_s, seen[0][0] + CALIBRATION_S + LOOK_S)
    found = [at_s for at_s, moved in seen if moved and start_s - EDGE_S <= at_s <= end_s + EDGE_S]
    return max(0.0, found[0] - start_s) if found else None


def share(seen: list[tuple[float, bool]], spans: Spans) -> str:
    scored = [m for at_s, m in seen if any(a + EDGE_S <= at_s <= b - EDGE_S for a, b in spans)]
    return f"{sum(scored) / len(scored):.0%}" if scored else "-"


def looks_of_clip(path: Path) -> Looks:
    looks: Looks = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            at_s = frame.time or 0.0
            if not looks or at_s >= looks[-1][0] + LOOK_S - 0.02:
                looks.append((at_s, Picture(frame, utc_now(), at_s).luma()))
    return looks


def looks_of_scene(folder: Path) -> Looks:
    """The pictures of a scene at five a second, after its first held for three."""
    pictures = []
    for path in sorted(folder.glob("*.jpg")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        frame = av.VideoFrame.from_ndarray(image, format="gray")
        pictures.append(Picture(frame, utc_now(), 0.0).luma())
    held = [pictures[0]] * round(SCENE_QUIET_S / LOOK_S)
    return [(i * LOOK_S, luma) for i, luma in enumerate([*held, *pictures])]


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
