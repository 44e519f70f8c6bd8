"""Motion found when only a quiet camera's key frames are decoded, against decoding every frame, on the same clips.

    BONGSU_DATA=path/to/data python -m bench.keyframes DIR [--variants night-ir rain …]

DIR has the synthetic clips, or they are made there (`bench/variants.py`): H.264 as a camera sends it, with a key frame
every 1.5 s. Each is played twice as one stream, and the second time counts, when the background has been learned.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from bench.gate import CLIPS, EDGE_S, Labels
from bench.variants import VARIANTS, make
from motion.burst import BurstRecorder, CapturedBurst
from motion.camera import Burst, Camera, Place
from motion.decoding import Arrival, Decoder
from motion.opening import opened
from motion.picture import Picture
from motion.reading import START_AT, packets

NAMES = ("adith_cctv.mp4", "intel_car-detection.mp4", "intel_one-by-one.mp4")
_MOST_S = 64.0


@dataclass(frozen=True)
class Outcome:
    """The result for one clip."""

    bursts: tuple[float, ...]
    """When the bursts began, in seconds of the second pass."""
    decoded: int
    frames: int

    def caught(self, labels: Labels) -> list[float | None]:
        """For each busy interval, the seconds until its first burst began."""
        found = []
        for start, end in labels.busy:
            inside = [at_s for at_s in self.bursts if start - EDGE_S <= at_s <= end + EDGE_S]
            if start < _MOST_S - 1:
                found.append(max(0.0, inside[0] - start) if inside else None)
        return found


def play(clip: Path, max_latency_s: float) -> Outcome:
    """Watch a clip; without an allowed latency every frame is decoded."""
    taken: list[CapturedBurst] = []
    place = Place(lat=0.0, lon=0.0, name="bench")
    burst = Burst(scene_interval_s=0, interval_s=0.8)
    watch = BurstRecorder(Camera(id="bench", url=SecretStr("bench"), place=place, burst=burst), taken.append)
    decoded = 0

    def see(picture: Picture) -> None:
        nonlocal decoded
        decoded += picture.at_s >= lasts_s
        watch.add_picture(picture)

    with opened(str(clip)) as (container, stream):
        decoder = Decoder(stream.codec_context, "bench", watch, max_latency_s)
        kept = [packet for packet in packets(container, stream) if packet.size]
        lasts_s = float((kept[-1].pts + kept[-1].duration) * kept[-1].time_base)
        for turn in range(2):
            for packet in kept:
                at_s = turn * lasts_s + float(packet.pts * packet.time_base)
                captured_at = START_AT + timedelta(seconds=at_s)
                for picture in decoder.feed(Arrival(packet, captured_at, at_s)):
                    see(picture)
    begun = [(burst.got_at - START_AT).total_seconds() - lasts_s for burst in taken]
    return Outcome(tuple(at_s for at_s in begun if at_s >= 0), decoded, len(kept))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["night-ir", "night-grain", "rain"])
    chosen = parser.parse_args()
    data = Path(
        os.environ.get("BONGSU_DATA") or sys.exit("bench/keyframes.py: set BONGSU_DATA to the folder with video/")
    )
    print("| clip | every frame: caught, latest | key frames: caught, latest | frames decoded |\n|---|---|---|---|")
    for name in NAMES:
        for variant in chosen.variants:
            clip = make(data / "video" / name, variant, chosen.folder)
            cells = []
            for latency_s in (0.0, 4.0):
                outcome = play(clip, latency_s)
                delays = outcome.caught(CLIPS[name])
                caught = [delay for delay in delays if delay is not None]
                cells.append(f"{len(caught)} of {len(delays)}, {max(caught, default=0.0):.1f} s")
            print(
                f"| {name}, {variant} | {cells[0]} | {cells[1]} | {outcome.decoded / outcome.frames:.0%} |", flush=True
            )


if __name__ == "__main__":
    main()
