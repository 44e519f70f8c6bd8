"""Makes the demo's clips from pictures and clips that may be shipped; NOTICE has their licences.

    python -m tools.demo_clips FOLDER        # FOLDER holds demo/{accident,fire,gun}/*.jpg and video/*

Every clip is a minute long, so that they loop together: a few seconds of the first picture, the scene, then its last
picture repeated to the end. Without motion the detector and the functions scale to zero. Faces and heads are pixelated
in each frame by Bongsu's own redaction.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from functions import Box, Frame, utc_now
from models.letterbox import Image
from models.network import SCENE, Network
from privacy.mosaic import pixelate
from privacy.redact import FaceFinder, redact

FPS = 10
LENGTH_S = 60
MEDIA = Path(__file__).parents[1] / "local/demo/media"


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: its pictures, their frame rate, and when they start to move."""

    name: str
    source: str
    start_s: float
    per_second: float
    first: int = 0
    last: int | None = None
    plate: Box | None = None
    """A legible number plate, which is pixelated in every picture."""


CLIPS = (
    Clip("accident", "demo/accident", start_s=5, per_second=4, plate=Box(0.365, 0.37, 0.45, 0.46)),
    # Its first picture shows a face that the face detector misses.
    Clip("fire", "demo/fire", start_s=7, per_second=4, first=1),
    Clip("gun", "demo/gun", start_s=9, per_second=5),
    # A car passes; the road is empty before and after it.
    Clip("street", "video/intel_car-detection.mp4", start_s=5, per_second=FPS, first=40, last=190),
    Clip("motorway", "video/dvr_traffic_camera.mp4", start_s=6, per_second=FPS, first=0, last=150),
)


def main() -> None:
    """Write all clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=[c.name for c in CLIPS])
    chosen = parser.parse_args()
    MEDIA.mkdir(parents=True, exist_ok=True)
    mosaic = Mosaic()
    for clip in CLIPS:
        if chosen.only in (None, clip.name):
            pictures = [mosaic.cover(p, clip.plate) for p in _pictures(chosen.folder / clip.source, clip)]
            path = MEDIA / f"{clip.name}.mp4"
            _write(path, pictures, clip)
            print(f"{path.name}: {len(pictures)} pictures, {path.stat().st_size / 1e6:.1f} MB")


class Mosaic:
    """Bongsu's own redaction, for every picture of a clip."""

    def __init__(self) -> None:
        self._scene = Network(SCENE)
        self._faces = FaceFinder()

    def cover(self, image: Image, plate: Box | None) -> Image:
        """The picture without faces, heads and that plate."""
        if plate is not None:
            height, width = image.shape[:2]
            x1, y1, x2, y2 = plate.x1 * width, plate.y1 * height, plate.x2 * width, plate.y2 * height
            pixelate(image, (int(x1), int(y1), int(x2), int(y2)))
        (around,) = self._scene.detect([image])
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        covered = redact(Frame(jpeg, utc_now()), around, self._scene.labels, self._faces)
        return np.asarray(cv2.imdecode(np.frombuffer(covered.jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _pictures(source: Path, clip: Clip) -> Iterator[Image]:
    if source.is_dir():
        for path in sorted(source.glob("*.jpg"))[clip.first : clip.last]:
            yield _sized(cv2.imread(str(path)))
        return
    with av.open(str(source)) as container:
        rate = float(container.streams.video[0].average_rate or 25)
        due = 0.0
        for number, frame in enumerate(container.decode(video=0)):
            if clip.last is not None and number > clip.last * rate / FPS:
                return
            if number >= clip.first * rate / FPS and number / rate >= due:
                due = max(due, number / rate) + 1 / clip.per_second
                yield _sized(frame.to_ndarray(format="bgr24"))


def _sized(image: Image) -> Image:
    """640 wide, for the small networks and the page, with even sides, as H.264 requires."""
    width = 640 if image.shape[1] >= 600 else image.shape[1]
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.resize(image, (width // 2 * 2, height // 2 * 2), interpolation=cv2.INTER_AREA)


def _timeline(pictures: Sequence[Image], clip: Clip) -> Iterator[Image]:
    for tick in range(FPS * LENGTH_S):
        at = int((tick / FPS - clip.start_s) * clip.per_second)
        yield pictures[min(max(at, 0), len(pictures) - 1)]


def _write(path: Path, pictures: Sequence[Image], clip: Clip) -> None:
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        # No B frames (the demo's RTSP server cannot send them); a key frame every 3 s, so that a viewer starts soon.
        options = {"crf": "23", "preset": "slow", "bf": "0", "g": str(FPS * 3), "threads": "1"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for tick, picture in enumerate(_timeline(pictures, clip)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
