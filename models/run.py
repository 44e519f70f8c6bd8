"""`python -m models.run` reads pictures from stdin and writes a network's detections to stdout; edge nodes run it.

The input is a line of JSON with the network (`Order`), then for each picture a line of JSON (`Header`) and the bytes of
the JPEG. The output is a line of JSON for each picture (`Seen`), even one that cannot be decoded, and no picture.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from functions import Detection
from functions.jpeg import PictureError
from models.network import Network, Spec, decode_jpeg
from models.registry import ModelError, find_weights

MIN_CONFIDENCE = 0.25
"""The threshold of a label that has none of its own."""
_MAX_BYTES = 64 << 20
_MAX_LINE = 1 << 20


class Order(msgspec.Struct, frozen=True):
    """What to run: weights or a version's folder, its labels, and the minimum score of each.

    The labels are in the order of the classes, or in any if the weights name their classes.
    """

    weights: str
    labels: list[str]
    thresholds: dict[str, float] = {}
    threads: int = 2


class Header(msgspec.Struct, frozen=True):
    """One picture: its name, when it was taken (RFC 3339, or empty), and its length; `lost` says why there is none."""

    source: str
    bytes: int = 0
    at: str = ""
    lost: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="seen", tag_field="kind"):
    """The detections in one picture, most confident first; boxes in fractions of the picture."""

    source: str
    at: str = ""
    width: int = 0
    height: int = 0
    detections: list[Detection] = []
    duration_s: float = 0.0
    error: str = ""


def main() -> None:
    """Run until stdin ends.

    Raises:
        SystemExit: with one line on stderr, if the network or the input cannot be used.
    """
    try:
        order = msgspec.json.decode(_line(sys.stdin.buffer), type=Order)
        network = open_network(order)
        for header, content in read_pictures(sys.stdin.buffer):
            sys.stdout.buffer.write(msgspec.json.encode(look(network, order, header, content)) + b"\n")
            sys.stdout.buffer.flush()
    except (ModelError, msgspec.MsgspecError, EOFError) as error:
        sys.exit(f"bongsu: {error}")
    except BrokenPipeError:
        sys.exit(1)


def open_network(order: Order) -> Network:
    """Load the network.

    Raises:
        ModelError: the weights are missing or altered, or have other labels.
    """
    least = min([*(order.thresholds.get(label, MIN_CONFIDENCE) for label in order.labels), 1.0])
    labels = {label.lower(): label for label in order.labels}
    spec = Spec(
        find_weights(Path(order.weights)),
        dict(enumerate(order.labels)),
        max(least, 0.01),
        label_of=lambda name: labels.get(name.strip().lower()),
    )
    return Network(spec, order.threads)


def read_pictures(stream: BinaryIO) -> Iterator[tuple[Header, bytes]]:
    """Pictures until the stream ends.

    Raises:
        EOFError: it ends within a picture.
        msgspec.MsgspecError: a header is invalid.
    """
    while line := _line(stream):
        header = msgspec.json.decode(line, type=Header)
        if not 0 <= header.bytes <= _MAX_BYTES:
            raise msgspec.ValidationError(f"a picture has 0 to {_MAX_BYTES} bytes, got {header.bytes}")
        content = stream.read(header.bytes)
        if len(content) < header.bytes:
            raise EOFError(f"the input ended after {len(content)} of {header.bytes} bytes of {header.source}")
        yield header, content


def look(network: Network, order: Order, header: Header, content: bytes) -> Seen:
    """The network's detections in one picture."""
    if header.lost:
        return Seen(source=header.source, at=header.at, error=header.lost)
    begun = time.perf_counter()
    try:
        image = decode_jpeg(content)
    except PictureError as error:
        return Seen(source=header.source, at=header.at, error=str(error))
    (found,) = network.detect([image])
    counted = [d for d in found if d.confidence >= order.thresholds.get(d.label, MIN_CONFIDENCE)]
    taken_s = round(time.perf_counter() - begun, 4)
    height, width = image.shape[:2]
    return Seen(source=header.source, at=header.at, width=width, height=height, detections=counted, duration_s=taken_s)


def _line(stream: BinaryIO) -> bytes:
    return stream.readline(_MAX_LINE)


if __name__ == "__main__":
    main()
