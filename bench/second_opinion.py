"""What a second opinion does to alerts, by how often it is wrong: labelled clips, the real policy, and a double.

    BONGSU_DATA=FOLDER python -m bench.second_opinion [--plays 20]

No real vision model is asked. A double of an OpenAI-compatible server answers by the labels of the clips
(bench/confirm.py), wrong at a set rate, over HTTP on loopback: the table shows what the policy makes of answers of that
quality, not how good any model's answers are.

Real alerts: what the detector confirms while a hazard is visible, in the clips that show one; each event's picture is
redacted and asked about. False alerts: three pictures a second apart of each clip that shows no hazard, as if a fire
had been confirmed in them, in addition to what the detector wrongly confirms. An alert goes out as soon as one of its
events passes, so it is held only if every one of them is denied.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from bench.confirm import CLIPS, EDGE_S, PLACE, pictures
from detect.detector import HazardDetector
from detect.worker import detect
from functions import Frame, Hazard, HazardSeen, MotionBurst, new_id
from models.vision import VisionEndpoint
from motion.burst import BurstRecorder, CapturedBurst
from motion.config import Camera
from notify.captions.opinion import SecondOpinion, Server, question_of
from privacy.redact import FaceFinder, Redacted, redact
from tests.vision_double import OpenAIDouble

RATES = (0.0, 0.05, 0.1, 0.2, 0.3)
_POSED = (2.0, 3.0, 4.0)
"""Seconds of a clip whose pictures stand for a false alert."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: its events with their redacted pictures, oldest first."""

    name: str
    is_real: bool
    events: Sequence[tuple[HazardSeen, Redacted]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plays", type=int, default=20, help="how often each rate is played")
    chosen = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given = os.environ.get("BONGSU_DATA") or sys.exit("set BONGSU_DATA to the folder of labelled clips")
    folder, detector, faces = Path(given) / "video", HazardDetector(), FaceFinder()
    alerts = []
    for name, labels in CLIPS.items():
        if not (folder / name).is_file():
            sys.exit(f"{folder} has no {name}: CLIPS in bench/confirm.py lists the clips and what they show")
        alerts += confirmed(folder / name, labels, detector, faces) if labels else [posed(folder / name, faces)]
    real, false = ([alert for alert in alerts if alert.is_real is wanted] for wanted in (True, False))
    print(f"{len(real)} real alerts of {sum(len(a.events) for a in real)} events: {', '.join(a.name for a in real)}")
    print(f"{len(false)} false alerts of {sum(len(a.events) for a in false)} events\n")
    print("| wrong answers | false alerts held | real alerts held | one answer, median |")
    print("|---|---|---|---|")
    for rate in RATES:
        print(asyncio.run(play(alerts, rate, chosen.plays)))


async def play(alerts: Sequence[Alert], rate: float, plays: int) -> str:
    """A line of the table: every alert is asked about so many times, by a double that is wrong at that rate."""
    truth = {
        (picture.jpeg, question_of(event.hazard)): alert.is_real for alert in alerts for event, picture in alert.events
    }
    rng, took, held = random.Random(7), [], {True: 0, False: 0}

    def say(picture: bytes, question: str) -> str:
        is_yes = truth[picture, question] != (rng.random() < rate)
        return f'{{"answer": "{"yes" if is_yes else "no"}"}}'

    async with OpenAIDouble(say) as double:
        endpoint = VisionEndpoint(double.base, "openai", "double", key=double.key)
        opinion = SecondOpinion({"accident": "hold", "fire": "hold", "gun": "hold", "knife": "hold"}, Server(endpoint))
        for alert in list(alerts) * plays:
            is_held = True
            for event, picture in alert.events:
                began = time.perf_counter()
                found = await opinion.on(event, picture)
                took.append(time.perf_counter() - began)
                assert found is not None
                is_held = is_held and found.is_held
            held[alert.is_real] += is_held
        await endpoint.close()
    shares = [held[kind] / (plays * sum(alert.is_real is kind for alert in alerts)) for kind in (False, True)]
    return f"| {rate:.0%} | {shares[0]:.0%} | {shares[1]:.1%} | {statistics.median(took) * 1000:.0f} ms |"


def confirmed(
    path: Path, labels: dict[Hazard, tuple[float, float]], detector: HazardDetector, faces: FaceFinder
) -> list[Alert]:
    """The alerts of a clip: what the detector confirms in it, by hazard, within its label or outside."""
    taken: list[CapturedBurst] = []
    camera = Camera.model_validate({"id": "clip", "url": "rtsp://127.0.0.1/clip", "place": PLACE})
    watch = BurstRecorder(camera, taken.append)
    begin = None
    for picture in pictures(path):
        begin = begin or picture.captured_at - timedelta(seconds=picture.at_s)
        watch.add_picture(picture)
    watch.lost()
    found: dict[tuple[Hazard, bool], list[tuple[HazardSeen, Redacted]]] = {}
    for burst in taken:
        motion = MotionBurst(
            id=burst.id, camera="clip", place=PLACE.wire, captured_at=burst.got_at, frames=burst.frames,
            moved=burst.moved,
        )  # fmt: skip
        for event in asyncio.run(detect([motion], detector)):
            assert event.frame is not None and begin is not None
            begin_s, end_s = labels.get(event.hazard, (float("inf"), float("-inf")))
            at_s = (event.frame.captured_at - begin).total_seconds()
            is_real = begin_s - EDGE_S <= at_s <= end_s + EDGE_S
            picture = redact(event.frame, event.detections, event.labels_searched, faces)
            found.setdefault((event.hazard, is_real), []).append((event, picture))
    return [Alert(f"{hazard} in {path.name}", real, events) for (hazard, real), events in found.items()]


def posed(path: Path, faces: FaceFinder) -> Alert:
    """A false alert: some pictures of a clip without a hazard, as if each had confirmed a fire."""
    wanted, events = list(_POSED), []
    for picture in pictures(path):
        if not wanted or picture.at_s < wanted[0]:
            continue
        wanted.pop(0)
        frame = Frame(picture.jpeg(1280, 85), picture.captured_at)
        event = HazardSeen(
            id=new_id(), hazard="fire", camera="clip", place=PLACE.wire, captured_at=frame.captured_at, frame=frame
        )
        events.append((event, redact(frame, (), ("person",), faces)))
        if not wanted:
            break
    return Alert(f"no fire in {path.name}", False, events)


if __name__ == "__main__":
    main()
