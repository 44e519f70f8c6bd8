"""Synthetic variants of clips: the same scene by night, in rain, snow, fog, with insects, headlights or on a mast.

    python -m bench.variants OUT CLIP… [--only night-ir rain]

What moves in a clip moves in its variants at the same times, so its labels hold. The files are named
`CLIP.VARIANT.synthetic.mp4` and are never committed: `bench/gate.py` makes what it needs and reports them apart.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from motion.reading import read_file

FPS, WIDTH, KEY_EVERY = 10, 640, 15
MOST_S = 65.0
QUIET_S, PERSON_S, VISIT_S = 20.0, 18.0, 40.0  # of `far_person`
Plane = NDArray[np.float32]
Effect = Callable[[Plane, int, np.random.Generator], Plane]


@dataclass(frozen=True)
class Variant:
    """A change of each picture's brightness, levels 0 to 255 of shape (H, W)."""

    effect: Effect
    is_grey: bool = False


def night(gain: float, gamma: float, noise: float) -> Effect:
    """Little light: dark and flat, with the noise of a sensor at high gain; the middle is lit as by infrared lamps."""

    def darkened(luma: Plane, i: int, rng: np.random.Generator) -> Plane:
        height, width = luma.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        far = ((x / width - 0.5) ** 2 + (y / height - 0.55) ** 2) * 4
        lit = 255 * (luma / 255) ** gamma * gain * (0.35 + 0.65 * np.exp(-far))
        grain = rng.standard_normal(luma.shape, np.float32)
        # Grain of a sensor is correlated once a camera's own filter and scaler have been over it.
        return 16 + lit + noise * 1.6 * cv2.blur(grain, (2, 2)) * np.sqrt(1 + lit / 60)

    return darkened


def rain(luma: Plane, i: int, rng: np.random.Generator) -> Plane:
    """Bright streaks, new ones in each picture."""
    height, width = luma.shape
    streaks = np.zeros(luma.shape, np.float32)
    for x, y, length in rng.integers((0, 0, height // 30), (width, height, height // 9), (90, 3)):
        cv2.line(streaks, (int(x), int(y)), (int(x) + int(length) // 5, int(y) + int(length)), 60.0, 1, cv2.LINE_AA)
    return 0.9 * luma + 8 + cv2.blur(streaks, (1, 3))


def snow(luma: Plane, i: int, rng: np.random.Generator) -> Plane:
    """Flakes that drift down and sideways, some of them near and large."""
    height, width = luma.shape
    place = np.random.default_rng(5)
    flakes = np.zeros(luma.shape, np.float32)
    for n in range(150):
        x0, y0, speed, size = place.uniform((0, 0, 6, 1), (width, height, 26, 3.6))
        x = (x0 + 5 * math.sin(i / 4 + n) + 1.5 * i) % width
        cv2.circle(flakes, (int(x), int((y0 + speed * i) % height)), int(size), 90.0, -1, cv2.LINE_AA)
    return np.maximum(0.85 * luma + 15, cv2.blur(flakes, (3, 3)) + 0.8 * luma)


def insects(luma: Plane, i: int, rng: np.random.Generator) -> Plane:
    """Two moths in the light of an infrared lamp: bright blurs that come near now and then and fly fast."""
    height, width = luma.shape
    blurs = np.zeros(luma.shape, np.float32)
    for n in range(2):
        if (i // 12 + n * 3) % 5:  # each is seen for a second or so in six
            continue
        t = i * 0.9 + 11 * n
        x, y = width * (0.5 + 0.45 * math.sin(1.3 * t + n)), height * (0.45 + 0.4 * math.sin(1.9 * t))
        cv2.ellipse(blurs, (int(x), int(y)), (9 + 4 * n, 4), 40 * t % 180, 0, 360, 130.0, -1, cv2.LINE_AA)
    return luma + cv2.blur(blurs, (5, 5))


def headlights(luma: Plane, i: int, rng: np.random.Generator) -> Plane:
    """A cone of light that sweeps over the scene for two seconds in each ten."""
    height, width = luma.shape
    at = (i / FPS) % 10
    if at > 2:
        return luma
    y, x = np.mgrid[:height, :width].astype(np.float32)
    middle = width * (0.1 + 0.4 * at)
    cone = np.exp(-(((x - middle) / (0.14 * width)) ** 2) - ((y / height - 0.7) / 0.3) ** 2)
    return luma * (1 + 1.1 * cone) + 12 * cone


def shake(luma: Plane, i: int, rng: np.random.Generator) -> Plane:
    """A mast in the wind: up to two pixels of 640, turning by a tenth of a degree."""
    height, width = luma.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 0.1 * math.sin(i * 1.1), 1.0)
    turn[:, 2] += (2.0 * math.sin(i * 0.9), 1.5 * math.sin(i * 1.7))
    moved: Plane = cv2.warpAffine(luma, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return moved


def fog(luma: Plane, i: int, rng: np.random.Generator) -> Plane:
    """A third of the contrast, and banks that drift by."""
    height, width = luma.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bank = 8 * np.sin(x / width * 5 + i / 25) * np.sin(y / height * 3 + i / 40)
    return 115 + 0.35 * luma + bank + rng.normal(0, 1.2, luma.shape).astype(np.float32)


VARIANTS = {
    "night": Variant(night(0.35, 1.6, 2.0)),
    "night-ir": Variant(night(0.5, 1.3, 1.5), is_grey=True),
    "night-grain": Variant(night(0.35, 1.4, 5.0), is_grey=True),
    "rain": Variant(rain),
    "snow": Variant(snow),
    "insects": Variant(lambda luma, i, rng: insects(night(0.5, 1.3, 1.5)(luma, i, rng), i, rng), is_grey=True),
    "headlights": Variant(lambda luma, i, rng: headlights(night(0.5, 1.3, 1.5)(luma, i, rng), i, rng), is_grey=True),
    "shake": Variant(shake),
    "fog": Variant(fog),
}


def make(clip: Path, name: str, folder: Path) -> Path:
    """The variant of a clip, encoded as a camera would; made only if it is not there yet."""
    path = folder / f"{clip.stem}.{name}.synthetic.mp4"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.mp4")
        write(changed(clip, VARIANTS[name]), part)
        part.rename(path)
    return path


def write(pictures: Iterator[av.VideoFrame], path: Path) -> None:
    """Encode at FPS, as an IP camera does: variable bit rate, no B frames, a key frame every 1.5 s."""
    options = {"bf": "0", "g": str(KEY_EVERY), "sc_threshold": "0", "preset": "veryfast", "crf": "27"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for i, picture in enumerate(pictures):
            if not i:
                stream.width, stream.height = picture.width, picture.height
            picture.pts, picture.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def changed(clip: Path, variant: Variant) -> Iterator[av.VideoFrame]:
    """The pictures of a clip, FPS of them a second, WIDTH wide, with the effect on each."""
    rng = np.random.default_rng(1)
    for i, frame in enumerate(sampled(clip)):
        height = round(frame.height * WIDTH / frame.width / 2) * 2
        planes = frame.reformat(width=WIDTH, height=height, format="yuv420p").to_ndarray()
        luma = variant.effect(planes[:height].astype(np.float32), i, rng)
        planes[:height] = np.clip(luma, 0, 255).astype(np.uint8)
        if variant.is_grey:
            planes[height:] = 128
        yield av.VideoFrame.from_ndarray(planes, format="yuv420p")


def far_person(contrast: float, noise: float, visits: int = 4, fps: int = FPS) -> Iterator[av.VideoFrame]:
    """An infrared night street in which a person of 0.3 % of the frame walks in, stands and walks off, again and again.

    Args:
        contrast: levels by which the person is brighter than what is behind; clothes differ by a quarter of it.
        noise: standard deviation of the sensor's noise, levels.
        visits: of PERSON_S each, every VISIT_S, the first after QUIET_S.
        fps: frames a second.
    """
    rng = np.random.default_rng(7)
    height, width = 360, WIDTH
    coarse = rng.uniform(0, 26, (height // 24 + 1, width // 32 + 1)).astype(np.float32)
    street = 22 + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    street += cv2.blur(rng.uniform(-9, 9, street.shape).astype(np.float32), (3, 3))
    for i in range(round((QUIET_S + visits * VISIT_S) * fps)):
        visit, at_s = divmod(i / fps - QUIET_S, VISIT_S)
        scene = street.copy()
        if visit >= 0 and at_s < PERSON_S:
            walked_s = min(at_s, 6.0) + max(0.0, at_s - 12.0)  # walks for 6 s, stands for 6 s, walks on
            x, y = 120 + 90 * visit + 9 * walked_s, 120 + 30 * visit
            figure = np.zeros_like(scene)
            sway = 3 * math.sin(walked_s * 6)
            cv2.ellipse(figure, (int(x), int(y + 14)), (8, 15), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
            cv2.circle(figure, (int(x), int(y - 5)), 5, 1.2, -1, cv2.LINE_AA)
            for leg in (-1, 1):
                cv2.line(figure, (int(x), int(y + 24)), (int(x + leg * (3 + sway)), int(y + 42)), 0.75, 5, cv2.LINE_AA)
            scene += contrast * cv2.blur(figure, (3, 3))
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        scene += noise * 1.6 * cv2.blur(rng.standard_normal(scene.shape, np.float32), (2, 2))
        planes[:height] = np.clip(scene, 0, 255).astype(np.uint8)
        yield av.VideoFrame.from_ndarray(planes, format="yuv420p")


def make_far_person(contrast: float, noise: float, folder: Path) -> Path:
    """The clip of `far_person`, made only if it is not there yet."""
    path = folder / f"person.{contrast:g}-levels.noise-{noise:g}.synthetic.mp4"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.mp4")
        write(far_person(contrast, noise), part)
        part.rename(path)
    return path


def sampled(clip: Path) -> Iterator[av.VideoFrame]:
    """FPS frames a second of a clip, up to MOST_S."""
    due_s = 0.0
    for frame in read_file(str(clip)):
        at_s = frame.time or 0.0
        while at_s >= due_s - 0.5 / FPS and due_s < MOST_S:
            due_s += 1 / FPS
            yield frame
        if due_s >= MOST_S:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    for clip in chosen.clips:
        for name in chosen.only:
            print(make(clip, name, chosen.out), flush=True)


if __name__ == "__main__":
    main()
