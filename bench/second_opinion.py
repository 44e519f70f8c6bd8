"""What a second opinion does to alerts, by how often it is wrong: labelled clips, the real policy, and a double.

    BONGSU_DATA=FOLDER python -m bench.second_opinion [--plays 10]

No real vision model is asked. A double of an OpenAI-compatible server answers by the labels of the clips
(bench/confirm.py), wrong at a set rate, over HTTP on loopback: the table shows what the policy makes of answers of that
quality, not how good any model's answers are.

An alert is three pictures, a second apart: of a real one, from when its hazard is visible; of a false one, from a clip
that shows no hazard, as if a fire had been confirmed there. The detector does not run. Faces are pixelated as for the
public. An alert goes out as soon as one of its events passes, so it is held only if every one of them is denied.
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
from pathlib import Path

import structlog

from bench.confirm import CLIPS, PLACE, pictures
from functions import Frame, Hazard, HazardSeen, new_id
from models.vision import VisionEndpoint
from notify.captions.opinion import SecondOpinion, Server, question_of
from privacy.redact import FaceFinder, Redacted, redact
from tests.vision_double import OpenAIDouble

RATES = (0.0, 0.05, 0.1, 0.2, 0.3)
_EVENTS = 3
_FROM_S = 2.0
"""Where the pictures of a false alert begin, and those of a real one in its label."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: its events with their redacted pictures, oldest first."""

    is_real: bool
    events: Sequence[tuple[HazardSeen, Redacted]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plays", type=int, default=10, help="how often each alert is asked about at each rate")
    chosen = parser.parse_args()
    # Keep the captioner's log out of the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    given = os.environ.get("BONGSU_DATA") or sys.exit("set BONGSU_DATA to the folder of labelled clips")
    alerts = []
    for name, labels in CLIPS.items():
        path = Path(given) / "video" / name
        if not path.is_file():
            sys.exit(f"{path} is missing: CLIPS in bench/confirm.py lists the clips and what they show")
        alerts += read_alerts(path, labels, FaceFinder())
    real = sum(alert.is_real for alert in alerts)
    print(f"{real} real and {len(alerts) - real} false alerts of {_EVENTS} events, each {chosen.plays} times\n")
    print("| wrong answers | false alerts held | real alerts held | one answer, median |")
    print("|---|---|---|---|")
    for rate in RATES:
        print(asyncio.run(play(alerts, rate, chosen.plays)), flush=True)


async def play(alerts: Sequence[Alert], rate: float, plays: int) -> str:
    """A line of the table: every alert is asked about so many times, by a double that is wrong at that rate."""
    truth = {
        (picture.jpeg, question_of(event.hazard)): alert.is_real for alert in alerts for event, picture in alert.events
    }
    rng, held = random.Random(7), {True: 0, False: 0}
    took: list[float] = []

    def say(picture: bytes, question: str) -> str:
        is_yes = truth[picture, question] != (rng.random() < rate)
        return f'{{"answer": "{"yes" if is_yes else "no"}"}}'

    async with OpenAIDouble(say) as double:
        endpoint = VisionEndpoint(double.base, "openai", "double", key=double.key, timeout_s=10)
        opinion = SecondOpinion({"accident": "hold", "fire": "hold", "gun": "hold", "knife": "hold"}, Server(endpoint))
        for alert in list(alerts) * plays:
            is_held = True
            for event, picture in alert.events:
                began = time.perf_counter()
                found = await opinion.on(event, picture)
                took.append(time.perf_counter() - began)
                if found is None or found.outcome not in ("yes", "no"):
                    sys.exit(f"the double did not answer: {found}")
                is_held = is_held and found.is_held
            held[alert.is_real] += is_held
        await endpoint.close()
    false, real = (held[kind] / (plays * sum(alert.is_real is kind for alert in alerts)) for kind in (False, True))
    return f"| {rate:.0%} | {false:.0%} | {real:.1%} | {statistics.median(took) * 1000:.0f} ms |"


def read_alerts(path: Path, labels: dict[Hazard, tuple[float, float]], faces: FaceFinder) -> list[Alert]:
    """The alerts of a clip: one for each hazard that it shows, or a false one of a fire if it shows none."""
    from_s = {hazard: begin + _FROM_S for hazard, (begin, _) in labels.items()}
    wanted: dict[Hazard, float] = from_s or {"fire": _FROM_S}
    events: dict[Hazard, list[tuple[HazardSeen, Redacted]]] = {hazard: [] for hazard in wanted}
    for picture in pictures(path):
        for hazard, begin in wanted.items():
            if len(events[hazard]) < _EVENTS and picture.at_s >= begin + len(events[hazard]):
                frame = Frame(picture.jpeg(1280, 85), picture.captured_at)
                event = HazardSeen(
                    id=new_id(), hazard=hazard, camera="clip", place=PLACE.wire, captured_at=frame.captured_at
                )
                events[hazard].append((event, redact(frame, (), ("person",), faces)))
        if all(len(found) == _EVENTS for found in events.values()):
            break
    return [Alert(bool(labels), found) for found in events.values()]


if __name__ == "__main__":
    main()
