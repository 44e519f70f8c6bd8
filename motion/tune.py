"""`bongsu motion tune`: what a camera's gate reports and rejects over a minute, with the reason for each."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from functions.event import Box, utc_now
from motion.burst import LOOK_S
from motion.config import Camera, ConfigError, cameras_path, load_cameras
from motion.decoding import Arrival, Decoder
from motion.gate import Gate
from motion.look import GateSettings, Look
from motion.opening import StreamError, is_file, opened
from motion.picture import Picture
from motion.reading import packets

_COLUMNS, _MOST = 6, 36
_SPACING_S = 1.0  # minimum time between thumbnails of the same outcome
_BRIGHT, _DIM = 255, 110


@dataclass(frozen=True, slots=True)
class Moment:
    """One look at which something differed from the background."""

    at_s: float
    outcome: str
    """`moving`, `standing` or the reason for which it was rejected."""
    box: Box
    luma: NDArray[np.uint8]


@click.group()
def motion() -> None:
    """Show what the motion gate of a camera reports."""


@motion.command()
@click.argument("name", metavar="CAMERA|FILE")
@click.option("--file", type=click.Path(path_type=Path), default=cameras_path, show_default="BONGSU_CAMERAS")
@click.option("--seconds", type=click.FloatRange(2, 3600), default=60.0, show_default=True, help="For how long.")
@click.option("--sensitivity", type=click.FloatRange(0, 1), help="Instead of the camera's.")
@click.option("--strip", type=click.Path(path_type=Path), default=Path("tune.jpg"), show_default=True)
def tune(name: str, file: Path, seconds: float, sensitivity: float | None, strip: Path) -> int:
    """List what the gate reported and rejected, and why, with a picture of each; faces are not covered."""
    try:
        url, settings = _chosen(name, file, sensitivity)
        looks, moments = watch(url, settings, seconds)
    except (ConfigError, StreamError) as error:
        print(f"bongsu: {error}", file=sys.stderr)
        return 2
    counts = Counter(moment.outcome for moment in moments)
    print(f"{looks} checks at sensitivity {settings.sensitivity:g}: ", end="")
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "nothing differed")
    shown = _spaced(moments)
    for number, moment in enumerate(shown, 1):
        box = moment.box
        print(
            f"{number:3}  {moment.at_s:6.1f} s  {moment.outcome:10}  {box.area:6.2%} of the picture at "
            f"x {box.x1:.2f}-{box.x2:.2f}, y {box.y1:.2f}-{box.y2:.2f}"
        )
    if shown:
        strip.write_bytes(simplejpeg.encode_jpeg(_strip(shown), quality=85, colorspace="GRAY"))
        print(f"pictures, {_COLUMNS} in a row: {strip}")
    return 0


def watch(url: str, settings: GateSettings, seconds: float) -> tuple[int, list[Moment]]:
    """Run a gate on a camera for some seconds, or on the first seconds of a file.

    Returns:
        The number of looks, and what differed at them.

    Raises:
        StreamError: the camera cannot be read.
    """
    looks, found = 0, []
    for moments, _ in look_on(url, settings, seconds):
        looks += 1
        found += moments
    return looks, found


def look_on(url: str, settings: GateSettings, seconds: float) -> Iterator[tuple[list[Moment], Picture]]:
    """The same look by look: what differed at each, and its picture.

    Raises:
        StreamError: the camera cannot be read.
    """
    gate = Gate(settings)
    for at_s, picture in _pictures(url, seconds):
        luma = picture.luma()
        yield [Moment(at_s, outcome, box, luma) for outcome, box in _outcomes(gate.look(luma, at_s))], picture


def _chosen(name: str, file: Path, sensitivity: float | None) -> tuple[str, GateSettings]:
    camera: Camera | None = None
    if not Path(name).is_file():
        known = {camera.id: camera for camera in load_cameras(file).cameras}
        if name not in known:
            raise ConfigError(
                f"{file}: has no camera {name!r}, and there is no such file: known are {', '.join(known)}"
            )
        camera = known[name]
    url = name if camera is None else (camera.detect_url or camera.url).get_secret_value()
    usual = GateSettings() if camera is None else GateSettings(camera.sensitivity, camera.masks, camera.standing_s)
    return url, usual if sensitivity is None else replace(usual, sensitivity=sensitivity)


def _pictures(url: str, seconds: float) -> Iterator[tuple[float, Picture]]:
    began_at_s, next_s = time.monotonic(), 0.0
    with opened(url) as (container, stream):
        decoder = Decoder(stream.codec_context, "", None, 0.0)
        for packet in packets(container, stream):
            for picture in decoder.feed(Arrival(packet, utc_now(), time.monotonic())):
                at_s = time.monotonic() - began_at_s
                if is_file(url):
                    at_s = next_s if picture.frame.time is None else picture.frame.time
                if at_s > seconds:
                    return
                if at_s >= next_s - LOOK_S / 10:
                    next_s = at_s + LOOK_S
                    yield at_s, picture


def _outcomes(look: Look) -> list[tuple[str, Box]]:
    kept = [("moving", box) for box in look.moving] + [("standing", box) for box in look.standing]
    return kept + [(rejected.reason, rejected.box) for rejected in look.rejected]


def _spaced(moments: Sequence[Moment]) -> list[Moment]:
    """The first of each outcome, and others some time later, as many as fit the strip."""
    last: dict[str, float] = {}
    shown = []
    for moment in moments:
        if moment.at_s - last.get(moment.outcome, -math.inf) >= _SPACING_S:
            last[moment.outcome] = moment.at_s
            shown.append(moment)
    return shown[:_MOST]


def _strip(moments: Sequence[Moment]) -> NDArray[np.uint8]:
    """Thumbnails in rows, shape (H, W, 1), with frames around what differed; bright ones around what was reported."""
    height, width = moments[0].luma.shape
    rows = math.ceil(len(moments) / _COLUMNS)
    sheet = np.zeros((rows * height, _COLUMNS * width, 1), np.uint8)
    for i, moment in enumerate(moments):
        picture = moment.luma.copy()
        box = moment.box
        left, right = int(box.x1 * width), min(width, math.ceil(box.x2 * width)) - 1
        top, bottom = int(box.y1 * height), min(height, math.ceil(box.y2 * height)) - 1
        level = _BRIGHT if moment.outcome in ("moving", "standing") else _DIM
        picture[[top, bottom], left : right + 1] = picture[top : bottom + 1, [left, right]] = level
        row, column = divmod(i, _COLUMNS)
        if picture.shape == (height, width):
            sheet[row * height : (row + 1) * height, column * width : (column + 1) * width, 0] = picture
    return sheet
