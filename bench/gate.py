"""How selective the motion gate is: recall and false motion on labelled clips, compared with its peers, as tables.

    BONGSU_DATA=path/to/data python -m bench.gate [--sensitivity 0.5 …] [--variants DIR] [--clips adith …]

BONGSU_DATA holds the folders `video/` and `demo/`. A look is five a second. An interval counts as caught if motion is
reported in it or half a second around it (labels err by as much); the delay counts from its start, or from the end of
the gate's warm-up where the clip begins with motion. Edges of half a second are not scored in `quiet looks flagged`,
nor in `busy looks flagged`. A false burst is what a quiet interval brings at one burst in two seconds. With
--variants, synthetic clips are made there (`bench/variants.py`) and reported apart. With --curve, the share of checks
passed on against recall is drawn, over all clips, at each sensitivity and for each peer.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from bench.curve import Point, draw
from bench.peers import PEERS, Peer
from bench.variants import PERSON_S, QUIET_S, VARIANTS, VISIT_S, make, make_far_person
from functions.event import utc_now
from motion.burst import LOOK_S
from motion.gate import CALIBRATION_S, Gate
from motion.look import GateSettings
from motion.picture import Picture

EDGE_S = 0.5
BURST_S = 2.0
SCENE_QUIET_S = 3.0
Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Labels:
    """When something moves in a clip, and when nothing does, in seconds."""

    busy: Spans
    quiet: Spans = ()


# In adith_cctv people pass at the very edge at 27.5 and from 57.3 to 59.5 s, within what is labelled quiet.
CLIPS = {
    "adith_cctv.mp4": Labels(((0, 9), (11, 24.5), (61, 64.7)), ((26.5, 30), (44, 60))),
    "intel_car-detection.mp4": Labels(
        ((4.5, 8.6), (14.5, 19), (25.3, 27.8)), ((0.5, 4), (9.5, 14), (19.7, 25), (28.5, 30.1))
    ),
    "intel_one-by-one.mp4": Labels(
        ((6.2, 20.5), (23, 45.5), (51, 70.5), (75, 87.5), (93, 121), (124, 137)),
        ((0.5, 5.5), (21.2, 22.8), (47, 50), (71.6, 74.6), (88.5, 92.5), (121.5, 123.5), (138, 139.5)),
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
VARIED = ("adith_cctv.mp4", "intel_car-detection.mp4", "dvr_issue53_brightness_change.avi")
FAR = ((10.0, 1.5), (10.0, 4.0), (15.0, 1.5), (15.0, 4.0), (25.0, 1.5), (25.0, 4.0))
FAR_LABELS = Labels(
    tuple((QUIET_S + i * VISIT_S, QUIET_S + i * VISIT_S + PERSON_S) for i in range(4)),
    ((3.0, QUIET_S), *((QUIET_S + i * VISIT_S + PERSON_S + 1, QUIET_S + (i + 1) * VISIT_S) for i in range(4))),
)
Looks = list[tuple[float, NDArray[np.uint8]]]
Seen = list[tuple[float, bool]]


@dataclass
class Score:
    """The score of one way to find motion on one clip or several."""

    caught: int = 0
    intervals: int = 0
    worst_s: float = 0.0
    busy: int = 0
    busy_looks: int = 0
    false: int = 0
    quiet_looks: int = 0
    false_bursts: int = 0
    cpu_s: float = 0.0
    looks: int = 0

    def add(self, other: Score) -> None:
        """Add another clip's score."""
        for name in self.__dataclass_fields__:
            joined = max if name == "worst_s" else lambda a, b: a + b
            setattr(self, name, joined(getattr(self, name), getattr(other, name)))

    @property
    def scored(self) -> tuple[int, int]:
        """The busy and the quiet checks that were scored."""
        return self.busy_looks, self.quiet_looks

    @property
    def point(self) -> Point:
        """Its point of the curve."""
        passed = (self.busy + self.false) / max(1, self.busy_looks + self.quiet_looks)
        return Point(passed, self.busy / max(1, self.busy_looks))

    @property
    def row(self) -> str:
        """Cells of a Markdown table."""
        minutes = self.quiet_looks * LOOK_S / 60
        a_minute = f"{self.false_bursts / minutes:.1f}" if minutes else "-"
        return (
            f"{self.caught} of {self.intervals} | {self.worst_s:.1f} | {self.busy} of {self.busy_looks} "
            f"| {self.false} of {self.quiet_looks} | {a_minute} | {self.cpu_s / max(1, self.looks) * 1000:.2f} |"
        )


HEAD = "intervals caught | worst delay s | busy looks flagged | quiet looks flagged | false bursts a minute | ms a look"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensitivity", type=float, nargs="+", default=[GateSettings().sensitivity])
    parser.add_argument("--variants", type=Path, help="make synthetic clips here, and report them too")
    parser.add_argument("--clips", nargs="+", default=[""], help="only clips whose name holds one of these")
    parser.add_argument("--curve", type=Path, metavar="SVG", help="draw the curve of recall into this file")
    chosen = parser.parse_args()
    data = Path(os.environ.get("BONGSU_DATA") or sys.exit("bench/gate.py: set BONGSU_DATA to the folder with video/"))
    ways: dict[str, Callable[[], Peer | Gate]] = {
        f"this gate, sensitivity {s:g}": (lambda s=s: Gate(GateSettings(s)))
        for s in chosen.sensitivity  # type: ignore[misc]
    }
    ways |= PEERS
    sums = {way: Score() for way in ways}
    for kind, of_kind in itertools.groupby(clips(data, chosen.variants, chosen.clips), key=lambda clip: clip[0]):
        for way, score in report(kind, ways, ((name, looks, labels) for _, name, looks, labels in of_kind)).items():
            sums[way].add(score)
    if chosen.curve is not None:
        gates = {s: sums[f"this gate, sensitivity {s:g}"].point for s in chosen.sensitivity}
        looks = sum(next(iter(sums.values())).scored)
        title = f"The motion gate at sensitivities {min(gates):g} to {max(gates):g}, and its peers: {looks:,} checks"
        draw(chosen.curve, gates, {name: sums[name].point for name in PEERS}, title)


def report(
    kind: str, ways: dict[str, Callable[[], Peer | Gate]], found: Iterator[tuple[str, Looks, Labels]]
) -> dict[str, Score]:
    """Print the first way's score on each clip and each way's score on all clips; returns the latter."""
    first, totals = next(iter(ways)), {way: Score() for way in ways}
    print(f"| {kind} clip ({first}) | {HEAD} |\n|{'---|' * 7}")
    for name, looks, labels in found:
        for way, made in ways.items():
            score = scored(made(), looks, labels)
            totals[way].add(score)
            if way == first:
                print(f"| {name} | {score.row}", flush=True)
    print(f"\n| all {kind} clips | {HEAD} |\n|{'---|' * 7}")
    for way, score in totals.items():
        print(f"| {way} | {score.row}", flush=True)
    print(flush=True)
    return totals


def clips(data: Path, variants: Path | None, only: list[str]) -> Iterator[tuple[str, str, Looks, Labels]]:
    """Kind, name, looks and labels of each existing clip."""

    def is_meant(name: str) -> bool:
        return any(part in name for part in only)

    for name, labels in CLIPS.items():
        if (data / "video" / name).is_file() and is_meant(name):
            yield "real", name, looks_of_clip(data / "video" / name), labels
    for name, first in SCENES.items():
        if (data / "demo" / name).is_dir() and is_meant(f"demo {name}"):
            looks = looks_of_scene(data / "demo" / name)
            yield "real", f"demo {name}", looks, Labels(((SCENE_QUIET_S + first * LOOK_S, looks[-1][0]),))
    if variants is None:
        return
    for contrast, noise in FAR:
        name = f"a far person, {contrast:g} levels, noise {noise:g}"
        if is_meant(name):
            yield "far person", name, looks_of_clip(make_far_person(contrast, noise, variants)), FAR_LABELS
    for name in VARIED:
        for variant in VARIANTS:
            if (data / "video" / name).is_file() and is_meant(f"{name} {variant}"):
                looks = looks_of_clip(make(data / "video" / name, variant, variants))
                yield "synthetic", f"{name}, {variant}", looks, CLIPS[name]


def scored(gate: Peer | Gate, looks: Looks, labels: Labels) -> Score:
    began = time.process_time()
    seen = [(at_s, bool(gate.detect(luma, at_s))) for at_s, luma in looks]
    cpu_s = time.process_time() - began
    delays = [delay_s(seen, start, end) for start, end in labels.busy]
    caught = [delay for delay in delays if delay is not None]
    busy, quiet = within(seen, labels.busy), within(seen, labels.quiet)
    return Score(
        caught=len(caught),
        intervals=len(delays),
        worst_s=max(caught, default=0.0),
        busy=sum(moved for _, moved in busy),
        busy_looks=len(busy),
        false=sum(moved for _, moved in quiet),
        quiet_looks=len(quiet),
        false_bursts=bursts(quiet),
        cpu_s=cpu_s,
        looks=len(looks),
    )


def delay_s(seen: Seen, start_s: float, end_s: float) -> float | None:
    """Seconds from the start of an interval (from the end of the warm-up, if that is later) to the first report."""
    start_s = max(start_s, seen[0][0] + CALIBRATION_S + LOOK_S)
    found = [at_s for at_s, moved in seen if moved and start_s - EDGE_S <= at_s <= end_s + EDGE_S]
    return max(0.0, found[0] - start_s) if found else None


def within(seen: Seen, spans: Spans) -> Seen:
    return [look for look in seen if any(a + EDGE_S <= look[0] <= b - EDGE_S for a, b in spans)]


def bursts(seen: Seen) -> int:
    """The number of bursts that these looks begin."""
    count, next_s = 0, 0.0
    for at_s, moved in seen:
        if moved and at_s >= next_s:
            count, next_s = count + 1, at_s + BURST_S
    return count


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
