"""Hazards found, how soon, and false alerts, on labelled clips played through gate, burst, network and confirmation.

    BONGSU_DATA=FOLDER python -m bench.confirm [--weights FILE] [--starts 8] [--variants FOLDER] [--out FILE.md]

FOLDER/video holds the clips. Each is read as motion reads a camera: its first picture is repeated while the gate learns
the scene, then every frame goes to a `BurstRecorder`, and each burst to the detector.

Half a second at either edge of a label is not scored, the accuracy of the labels. A hazard is found if a burst within
its label confirms it; the delay counts from its start to the last frame of that burst. A confirmation elsewhere is
false; false bursts of one hazard less than the quiet period apart are one alert, as they would be one incident.
docs/detector.md lists the detector's numbers that were tuned on these clips.

A camera takes a burst every two seconds, at random frames. With `--starts N` each clip is played N times, each time a
quarter of a second later. With `--variants FOLDER` each clip is also played as the synthetic variants of
bench/variants.py show it, by night, in rain and so on, as it is and mirrored; those are made in FOLDER once, and are
reported apart.

Plays of one clip are not independent. Intervals of 95 % are therefore the wider of two: by resampling clips, and as if
each had been played once (Wilson's for shares, Poisson's for counts). They say what other clips of the same kind might
have given, not what another city would.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import structlog

from bench.intervals import resampled, upper_bound, wider, wilson
from bench.variants import VARIANTS, make
from detect.detector import HazardDetector
from detect.worker import detect
from functions import HAZARDS, Hazard, MotionBurst
from models.network import hazard_spec
from motion.burst import BurstRecorder, CapturedBurst
from motion.config import Camera, Place
from motion.gate import CALIBRATION_S
from motion.picture import Picture

EDGE_S = 0.5
QUIET_S = 120.0
_STEP_S = 0.25
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

CLIPS: dict[str, dict[Hazard, tuple[float, float]]] = {
    "adith_cctv.mp4": {},
    "intel_car-detection.mp4": {},
    "intel_one-by-one.mp4": {},
    "dvr_traffic_camera.mp4": {},
    "dvr_issue53_brightness_change.avi": {},
    "mcv_traffic.avi": {},
    "um_crash_1.mp4": {"accident": (6.7, 13.9)},
    "um_Fire2.mp4": {"fire": (3.3, 13.4)},
    "um_Med.mp4": {"gun": (3.2, 9.5)},
    "capo_knife-gun.mp4": {"gun": (0, 12.6), "knife": (0, 12.6)},
}
"""When each hazard is visible, in seconds of the clip."""


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst of a clip and what it confirmed; times in seconds of the clip."""

    begin_s: float
    end_s: float
    hazards: tuple[Hazard, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a clip for one hazard."""

    shown: bool
    bursts: int
    confirmed: int
    delay_s: float | None
    false_alerts: int


class ClipTally(NamedTuple):
    """All plays of one clip: hazards found, hazards shown, false alerts, hours watched, and how often it was played."""

    found: float
    shown: float
    false: float
    hours: float
    plays: int


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="weights other than the shipped ones")
    parser.add_argument("--starts", type=int, default=1, help="how often each clip is played")
    parser.add_argument("--variants", type=Path, help="also play synthetic variants, kept in this folder")
    parser.add_argument("--out", type=Path, help="a file to which the tables are added")
    chosen = parser.parse_args()
    folder = (
        Path(os.environ.get("BONGSU_DATA") or sys.exit("set BONGSU_DATA to the folder of labelled clips")) / "video"
    )
    if missing := [name for name in CLIPS if not (folder / name).is_file()]:
        sys.exit(f"{folder} has no {missing[0]}: CLIPS in bench/confirm.py lists the clips and what they show")
    if chosen.weights:
        os.environ["BONGSU_DETECT_WEIGHTS"] = str(chosen.weights)
    # Keep the detector's log out of the tables.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    detector = HazardDetector()
    lines = ["| clip | seconds | bursts | hazard | confirmed it | found | first alert after, worst | false alerts |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    groups: dict[str, list[ClipTally]] = defaultdict(list)
    for name, labels in CLIPS.items():
        plays = [play(folder / name, detector, i * _STEP_S) for i in range(chosen.starts)]
        outcomes = score(plays, labels)
        lines += rows(name, plays, outcomes)
        groups["real"].append(tallied(plays, outcomes))
        for variant in VARIANTS if chosen.variants else ():
            made = make(folder / name, variant, chosen.variants)
            plays = [play(made, detector, mirrored=mirrored) for mirrored in (False, True)]
            groups[f"synthetic: {variant}"].append(tallied(plays, score(plays, labels)))
    lines += ["", *summary(groups), "", f"Weights `{os.path.relpath(hazard_spec().path)}`."]
    print("\n".join(lines))
    if chosen.out:
        with chosen.out.open("a") as file:
            file.write("\n" + "\n".join(lines) + "\n")


def score(
    plays: list[tuple[float, list[Burst]]], labels: dict[Hazard, tuple[float, float]]
) -> dict[Hazard, list[Outcome]]:
    """The outcome of each play of a clip for each hazard."""
    return {h: [judge(bursts, h, labels.get(h)) for _, bursts in plays] for h in HAZARDS}


def tallied(plays: list[tuple[float, list[Burst]]], outcomes: dict[Hazard, list[Outcome]]) -> ClipTally:
    """All plays of a clip in one line."""
    every = [o for of_hazard in outcomes.values() for o in of_hazard]
    shown = [o for o in every if o.shown]
    found, false = sum(o.confirmed > 0 for o in shown), sum(o.false_alerts for o in every)
    return ClipTally(found, len(shown), false, sum(length_s for length_s, _ in plays) / 3600, len(plays))


def summary(groups: Mapping[str, Sequence[ClipTally]]) -> list[str]:
    """Lines of a table with a row for each group of clips and one for all that are synthetic."""
    synthetic = [t for name, clips in groups.items() if name != "real" for t in clips]
    together = {**groups, **({"all synthetic": synthetic} if synthetic else {})}
    lines = [
        "| clips | camera-hours | hazards found, 95 % | false alerts | a camera-hour, 95 % |",
        "|---|---|---|---|---|",
    ]
    for name, clips in together.items():
        found, shown, false, hours, _ = (sum(values) for values in zip(*clips, strict=True))
        once = sum(t.hours / t.plays for t in clips) / hours
        low, high = wider(resampled([(t.found, t.shown) for t in clips]), wilson(found * once, shown * once))
        least, most = resampled([(t.false, t.hours) for t in clips])
        most = max(most, upper_bound(math.ceil(false * once)) / (hours * once))
        lines.append(
            f"| {name} | {hours:.2f} | {found:.0f} of {shown:.0f}, {low:.0%} to {high:.0%} | {false:.0f} "
            f"| {false / hours:.1f}, {least:.1f} to {most:.1f} |"
        )
    return lines


def play(
    path: Path, detector: HazardDetector, skip_s: float = 0.0, *, mirrored: bool = False
) -> tuple[float, list[Burst]]:
    """Seconds of a clip that were played, and its bursts in order.

    Args:
        path: the clip.
        detector: the detector's networks.
        skip_s: seconds to skip at its beginning.
        mirrored: whether left and right are exchanged.
    """
    taken: list[CapturedBurst] = []
    camera = Camera.model_validate({"id": "clip", "url": "rtsp://127.0.0.1/clip", "place": PLACE})
    watch = BurstRecorder(camera, taken.append)
    last_s = 0.0
    for picture in pictures(path, skip_s, mirrored=mirrored):
        watch.add_picture(picture)
        last_s = picture.at_s
    watch.lost()
    return float(last_s - skip_s), [_confirm(burst, detector) for burst in taken]


def pictures(path: Path, skip_s: float = 0.0, *, mirrored: bool = False) -> Iterator[Picture]:
    """The frames of a clip from `skip_s` on, preceded by copies of the first one at earlier times."""
    with av.open(str(path)) as container:
        watched = (frame for frame in container.decode(video=0) if (frame.time or 0.0) >= skip_s)
        for i, frame in enumerate(watched):
            at_s = frame.time or 0.0
            shown = _mirror(frame) if mirrored else frame
            if i == 0:
                held = round((CALIBRATION_S + 1) / 0.1)
                for step in range(held, 0, -1):
                    yield _picture(shown, at_s - step * 0.1)
            yield _picture(shown, at_s)


def judge(bursts: list[Burst], hazard: Hazard, label: tuple[float, float] | None) -> Outcome:
    """Score the bursts of a clip for one hazard."""
    begin_s, end_s = label or (float("inf"), float("-inf"))
    inside = [b for b in bursts if b.end_s >= begin_s - EDGE_S and b.begin_s <= end_s + EDGE_S]
    confirmed = [b for b in inside if hazard in b.hazards]
    wrong = [b.begin_s for b in bursts if b not in inside and hazard in b.hazards]
    alerts = [at for i, at in enumerate(wrong) if i == 0 or at - wrong[i - 1] > QUIET_S]
    delay = max(0.0, confirmed[0].end_s - begin_s) if confirmed else None
    return Outcome(label is not None, len(inside), len(confirmed), delay, len(alerts))


def rows(name: str, plays: list[tuple[float, list[Burst]]], outcomes: dict[Hazard, list[Outcome]]) -> list[str]:
    """Lines of the table: each hazard in the clip, and each other one that was confirmed."""
    lines = []
    for hazard, each in outcomes.items():
        false = sum(o.false_alerts for o in each)
        if each[0].shown:
            delays = sorted(o.delay_s for o in each if o.delay_s is not None)
            after = f"{statistics.median(delays):.1f} s, {delays[-1]:.1f} s" if delays else "never"
            confirmed = f"{sum(o.confirmed for o in each)} of {sum(o.bursts for o in each)}"
            lines.append(f"{hazard} | {confirmed} | {len(delays)} of {len(each)} | {after} | {false}")
        elif false:
            lines.append(f"({hazard}) | | | | {false}")
    length_s, bursts = sum(length_s for length_s, _ in plays), sum(len(bursts) for _, bursts in plays)
    return [f"| {name} | {length_s:.0f} | {bursts} | {rest} |" for rest in lines or ["none | | | | 0"]]


def _mirror(frame: av.VideoFrame) -> av.VideoFrame:
    turned = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.to_ndarray(format="bgr24")[:, ::-1]), format="bgr24")
    return turned.reformat(format="yuv420p")


def _picture(frame: av.VideoFrame, at_s: float) -> Picture:
    return Picture(frame, _BEGIN + timedelta(seconds=at_s), at_s)


def _confirm(taken: CapturedBurst, detector: HazardDetector) -> Burst:
    event = MotionBurst(
        id=taken.id,
        camera=taken.camera.id,
        place=taken.camera.place.wire,
        captured_at=taken.got_at,
        frames=taken.frames,
        moved=taken.moved,
    )
    found = asyncio.run(detect([event], detector))
    times = [(frame.captured_at - _BEGIN).total_seconds() for frame in taken.frames]
    return Burst(times[0], times[-1], tuple(e.hazard for e in found))


PLACE = Place(lat=37.5, lon=127.0, name="clip")

if __name__ == "__main__":
    main()
