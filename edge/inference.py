"""Runs a version of a model on a node: its inputs, its results, and boxes drawn without the picture.

A picture is sent to the node or is there already; none is returned, because only privacy/ makes pictures that may be
shown. The results are positions: as JSON, a table, or boxes on an empty canvas.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edge import ssh
from edge.artefact import Version
from edge.errors import FleetError
from edge.nodes import Node

MAX_EVERY_S = 240.0
"""A node that is silent for longer counts as lost."""
_PICTURES = {".jpg", ".jpeg"}
_MAX_PICTURE_BYTES = 64 << 20
_EVERY = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
_MAX_BOXES = 10_000
_Word = Annotated[str, msgspec.Meta(max_length=500)]
_Share = Annotated[float, msgspec.Meta(ge=-0.01, le=1.01)]
_Side = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class SeenBox(msgspec.Struct, frozen=True, array_like=True):
    """`[x1, y1, x2, y2]`: corners in fractions of the picture, origin top-left."""

    x1: _Share
    y1: _Share
    x2: _Share
    y2: _Share


class SeenObject(msgspec.Struct, frozen=True):
    """One detection, as a node reports it."""

    label: Annotated[str, msgspec.Meta(max_length=100)]
    confidence: _Share
    box: SeenBox


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Detections in one picture, as a node reports them; the node may be compromised."""

    source: _Word
    at: _Word = ""
    width: _Side = 0
    height: _Side = 0
    detections: Annotated[list[SeenObject], msgspec.Meta(max_length=_MAX_BOXES)] = []
    duration_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    error: _Word = ""


class _Ran(msgspec.Struct):
    pictures: int


@dataclass(frozen=True, slots=True)
class Input:
    """The pictures to run a model on.

    Attributes:
        files: local pictures to send.
        path: a picture, folder or video on the node.
        camera: address or id of a camera that the node opens.
        name: the name of its pictures; never an address.
    """

    files: tuple[Path, ...] = ()
    path: str = ""
    camera: str = ""
    name: str = ""

    @classmethod
    def parse(cls, given: str) -> Input:
        """Read `FILE`, `FOLDER`, `node:PATH`, `camera:ID` or `rtsp://…`.

        Raises:
            FleetError: there is no such file, or no picture in the folder.
        """
        if given.startswith(("rtsp://", "rtsps://")):
            return cls(camera=given, name="camera")
        kind, separator, rest = given.partition(":")
        if separator and rest and kind == "camera":
            return cls(camera=rest, name=rest)
        if separator and rest and kind == "node":
            return cls(path=rest, name=rest.rstrip("/").rpartition("/")[2])
        return cls(files=tuple(_find_pictures(Path(given))))


def parse_every(given: str) -> float:
    """Seconds of `5s`, `500ms`, `2m` or `5`.

    Raises:
        FleetError: it has another form, or is out of range.
    """
    found = _EVERY.fullmatch(given)
    every_s = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < every_s <= MAX_EVERY_S:
        raise FleetError(f"--every is a time up to {MAX_EVERY_S:g}s such as 5s or 500ms, got {given!r}")
    return every_s


async def run_model(
    node: Node, version: Version, what: Input, on_seen: Callable[[Seen], None], *, every_s: float = 5.0, count: int = 0
) -> int:
    """Run a version on pictures, on a node that has it.

    Args:
        node: the node.
        version: a version in the registry; the node must have it.
        what: the pictures.
        on_seen: receives each picture's result, as soon as it is known.
        every_s: minimum time between two pictures of a camera or video.
        count: the number of them; 0: until it ends or is interrupted.

    Returns:
        The number of pictures.

    Raises:
        FleetError: the node lacks the version or its runtime, or cannot read the input.
    """
    card = version.card
    if card.task != "detect" or not card.labels:
        raise FleetError(
            f"{version.name}:{card.version} cannot be run: its task is {card.task!r} and it has {len(card.labels)} "
            "labels; it must have the task detect, and its labels in model.yaml"
        )
    request: dict[str, Any] = {
        "command": "run", "name": version.name, "digest": version.digest, "label": f"{version.name}:{card.version}",
        "labels": card.labels, "thresholds": card.thresholds, "threads": 2, "path": what.path, "camera": what.camera,
        "source": what.name, "every_s": every_s, "count": count,
    }  # fmt: skip

    def on_line(line: bytes) -> None:
        try:
            on_seen(msgspec.json.decode(line, type=Seen))
        except msgspec.MsgspecError as error:
            raise FleetError(f"node {node.name!r} sent an invalid report: {error}") from None

    feed = _send_pictures(what.files) if what.files else None
    return (await ssh.ask(node, request, _Ran, on_seen=on_line, feed=feed)).pictures


def draw_boxes(seen: Seen) -> str:
    """An SVG with the picture's size that shows boxes and labels on an empty canvas."""
    width, height = seen.width or 1, seen.height or 1
    size = max(12, height // 30)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#eee"/>',
    ]
    for found in seen.detections:
        box = found.box
        x, y = box.x1 * width, box.y1 * height
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{(box.x2 - box.x1) * width:.1f}" '
            f'height="{(box.y2 - box.y1) * height:.1f}" fill="none" stroke="#c00" stroke-width="{size / 6:.1f}"/>'
            f'<text x="{x:.1f}" y="{max(size, y - size / 4):.1f}" font-size="{size}" font-family="sans-serif">'
            f"{escape(found.label)} {found.confidence:.2f}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _find_pictures(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in _PICTURES and p.is_file())
        if not found:
            raise FleetError(f"there is no .jpg or .jpeg in {path}")
        return found
    if not path.is_file():
        raise FleetError(
            f"no file or folder {str(path)!r} here: on the node it is node:{path}, a camera is camera:ID or rtsp://…"
        )
    if path.suffix.lower() not in _PICTURES:
        raise FleetError(f"{path} does not end in .jpg: videos are read on the node, as node:/path/there.mp4")
    return [path]


async def _send_pictures(files: tuple[Path, ...]) -> AsyncIterator[bytes]:
    for file in files:
        content = file.read_bytes() if file.stat().st_size <= _MAX_PICTURE_BYTES else b""
        lost = "" if content else f"it is empty, or over {_MAX_PICTURE_BYTES >> 20} MB"
        yield msgspec.json.encode({"source": file.name, "bytes": len(content), "lost": lost}) + b"\n" + content
