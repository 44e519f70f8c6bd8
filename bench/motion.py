"""CPU of motion's pipeline (decode, look, bursts) against decoding alone, on the same clip in the same run.

    python -m bench.motion [CLIP] [--rounds 5]

Without a clip: `video/dvr_traffic_camera.mp4` in BONGSU_DATA (a motorway with constant motion, so the maximum number of
bursts), else a drawn 720p clip in which something always moves. Both ways take turns, process CPU time is counted, and
the minimum of each is compared, because other load can only add.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from pydantic import SecretStr

from functions.event import utc_now
from motion.burst import SETTLING_S, BurstRecorder, CapturedBurst
from motion.config import Burst, Camera, Place
from motion.decoding import Arrival, Decoder
from motion.opening import opened
from motion.picture import Picture
from motion.reading import packets, read_file

EVERY_2_S = Burst()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = chosen.clip or clip_at_hand() or draw_clip(Path(folder) / "drawn.mp4")
        alone: list[float] = []
        piped: list[float] = []
        rested: list[float] = []
        for _ in range(chosen.rounds):
            alone.append(cpu_s(lambda: decode(clip)))
            piped.append(cpu_s(lambda: pipe(clip)))
            rested.append(cpu_s(lambda: pipe(clip, Burst(max_per_minute=1))))
        frames, seconds, size = decode(clip)
        bursts = pipe(clip)
    print(f"{clip.name}: {size}, {frames} frames, {seconds:.1f} s of video, {bursts} bursts, best of {chosen.rounds}\n")
    print("| | CPU s | ms a frame | cores for one camera | ratio (aim 1.3) |")
    print("|---|---|---|---|---|")
    rows = {"decode alone": alone, "motion, a burst every 2 s": piped, "motion, a burst a minute": rested}
    for name, times in rows.items():
        spent, ratio = min(times), min(times) / min(alone)
        print(f"| {name} | {spent:.3f} | {spent / frames * 1000:.2f} | {spent / seconds:.3f} | {ratio:.2f} |")


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`: the shipped clips, which are a minute long each."""
    table = []
    street = Path(__file__).parents[1] / "local/demo/media/street.mp4"
    motorway = Path(__file__).parents[1] / "local/demo/media/motorway.mp4"
    folder = Path(tempfile.mkdtemp())
    large_street, large_motorway = folder / "street.mp4", folder / "motorway.mp4"
    enlarge(street, large_street, 0)
    enlarge(motorway, large_motorway, 70)
    for what, clip, burst in (
        ("a street where cars pass, 1080p", large_street, EVERY_2_S),
        ("a motorway without end, 1080p, a burst every 2 s", large_motorway, EVERY_2_S),
        ("the demo's street, 640 px, 10 frames/s", street, EVERY_2_S),
    ):
        turns = [(cpu_s(lambda c=clip: decode(c)), cpu_s(lambda c=clip, b=burst: pipe(c, b))) for _ in range(5)]  # type: ignore[misc]
        alone, piped = min(a for a, _ in turns), min(p for _, p in turns)
        _, seconds, size = decode(clip)
        measured = f"{piped / alone:.2f}x ({piped / seconds:.3f} cores for one camera at {size})"
        table.append((f"Motion, CPU against decoding alone: {what}", measured, "<= 1.3x"))
    watching, decoding, seconds = quiet_costs(draw_quiet(folder / "quiet.mp4"))
    measured = f"{watching / seconds:.2%} of a core ({decoding / watching:.0f} times less than decoding every frame)"
    table.append(("Motion, a quiet camera, 1080p at 15 frames/s, a key frame every 1.5 s", measured, "<= 1 %"))
    return table


def draw_quiet(path: Path, seconds: int = 12) -> Path:
    """A still street at 1080p with the noise of a sensor, encoded as a camera does: 15 frames/s, GOP 1.5 s, no B."""
    street = Path(__file__).parents[1] / "local/demo/media/street.mp4"
    still = next(read_file(str(street))).reformat(width=1920, height=1080, format="yuv420p").to_ndarray()
    rng = np.random.default_rng(1)
    options = {"bf": "0", "g": "23", "sc_threshold": "0", "preset": "veryfast", "maxrate": "4M", "bufsize": "4M"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15, options=options)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for i in range(seconds * 15 // 23 * 23):
            planes = still.astype(np.int16)
            planes[:1080] += rng.integers(-3, 4, (1080, 1920), dtype=np.int16)
            picture = av.VideoFrame.from_ndarray(np.clip(planes, 0, 255).astype(np.uint8), format="yuv420p")
            picture.pts, picture.time_base = i, Fraction(1, 15)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def quiet_costs(clip: Path, passes: int = 5) -> tuple[float, float, float]:
    """CPU seconds of watching and of decoding a quiet clip, and how long it lasts.

    It is read several times as one stream; the time in which the camera is fully decoded to learn the background is not
    counted.
    """
    taken: list[CapturedBurst] = []
    place = Place(lat=0.0, lon=0.0, name="bench")
    burst = Burst(scene_interval_s=0)
    watch = BurstRecorder(Camera(id="bench", url=SecretStr("bench"), place=place, burst=burst), taken.append)
    watched = seconds = 0.0
    with opened(str(clip)) as (container, stream):
        decoder = Decoder(stream.codec_context, "bench", watch, 4.0)
        kept = [packet for packet in packets(container, stream) if packet.size]
        lasts_s = float((kept[-1].pts + kept[-1].duration) * kept[-1].time_base)
        for turn in range(passes):
            for packet in kept:
                at_s = turn * lasts_s + float(packet.pts * packet.time_base)
                began = time.process_time()
                for picture in decoder.feed(Arrival(packet, utc_now(), at_s)):
                    watch.add_picture(picture)
                if at_s > SETTLING_S + 8:
                    watched += time.process_time() - began
                    seconds += lasts_s / len(kept)
    decoded = cpu_s(lambda: decode(clip))
    return watched, decoded * seconds / lasts_s, seconds


def enlarge(clip: Path, into: Path, first: int) -> None:
    """Fifteen seconds of a clip as a 1080p camera sends them: 25 frames a second, a key frame every two seconds."""
    frames = [frame for i, frame in enumerate(read_file(str(clip))) if first <= i < first + 150]
    with av.open(str(into), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "50", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for i in range(375):
            picture = frames[i * 10 // 25].reformat(width=1920, height=1080, format="yuv420p")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def clip_at_hand() -> Path | None:
    path = Path(os.environ.get("BONGSU_DATA", "")) / "video" / "dvr_traffic_camera.mp4"
    return path if path.is_file() else None


def decode(clip: Path) -> tuple[int, float, str]:
    """Decode only; returns frames, seconds and size."""
    frames, last_s, size = 0, 0.0, ""
    for frame in read_file(str(clip)):
        frames, last_s, size = frames + 1, frame.time or 0.0, f"{frame.width}x{frame.height}"
    return frames, last_s, size


def pipe(clip: Path, burst: Burst = EVERY_2_S) -> int:
    """The same with motion's whole work on each frame; returns the number of bursts."""
    taken: list[CapturedBurst] = []
    place = Place(lat=0.0, lon=0.0, name="bench")
    watch = BurstRecorder(Camera(id="bench", url=SecretStr("bench"), place=place, burst=burst), taken.append)
    for frame in read_file(str(clip)):
        watch.add_picture(Picture(frame, utc_now(), frame.time or 0.0))
    return len(taken)


def cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def draw_clip(path: Path) -> Path:
    rng = np.random.default_rng(1)
    street = np.kron(rng.integers(40, 200, (18, 32, 3)), np.ones((40, 40, 1))).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for i in range(500):
            image = street + rng.integers(-6, 7, street.shape, dtype=np.int16)
            image[300:420, (i * 6) % 1100 : (i * 6) % 1100 + 160] = 230
            picture = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


if __name__ == "__main__":
    main()
