"""Tracks of any codec for `RtspCamera`: FFmpeg encodes drawn pictures and packs them into RTP as a camera would."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import av
import numpy as np

FPS = 25
_HEAD = 12
_OPTIONS = {
    "libx264": {"preset": "veryfast", "sc_threshold": "0", "bf": "0"},
    "libx265": {"preset": "ultrafast"},
    "mjpeg": {"huffman": "default", "force_duplicated_matrix": "1", "b": "4000000"},  # as RTP carries it
}
_RTPMAPS = {"libx264": "H264/90000", "libx265": "H265/90000", "mjpeg": "JPEG/90000"}


@dataclass(frozen=True)
class Sent:
    """One encoded frame."""

    payloads: tuple[bytes, ...]
    at_s: float
    """Its time; frames are in decoding order, so that times go back where there are B frames."""


@dataclass(frozen=True)
class Track:
    """So many frames of one stream."""

    frames: tuple[Sent, ...]
    sdp: str
    """Its lines of the description."""
    size: tuple[int, int]


def track(
    codec: str = "libx264", count: int = 2 * FPS, *, key_every: int = FPS, size: tuple[int, int] = (320, 192),
    moves: range = range(0), noise: float = 2.0, options: Mapping[str, str] = MappingProxyType({}),
) -> Track:  # fmt: skip
    """Encode a street with noise of so many levels; in the frames that `moves` names, a bright block crosses it."""
    sink = _Sink()
    more = {**_OPTIONS[codec], **({} if codec == "mjpeg" else {"g": str(key_every)}), **options}
    if codec == "libx265":
        more["x265-params"] = f"log-level=none:scenecut=0:bframes=0:keyint={key_every}:min-keyint={key_every}"
    rng = np.random.default_rng(1)
    street = np.kron(rng.integers(60, 150, (6, 10)), np.ones((size[1] // 6, size[0] // 10)))
    with av.open(sink, "w", format="rtp", container_options={"packetsize": "1400"}) as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=more)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1  # with more, MJPEG has restart markers, which are not packed
        for i in range(count):
            grain = rng.normal(0, noise, street.shape) if noise else 0.0
            picture = _drawn(street + grain, size, i - moves.start if i in moves else None)
            picture.pts, picture.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    lines = f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {_RTPMAPS[codec]}\r\na=control:track1\r\n"
    return Track(sink.frames(), lines, size)


def _drawn(street: Any, size: tuple[int, int], moved: int | None) -> av.VideoFrame:
    width, height = size
    if moved is not None:
        x = (20 + 4 * moved) * width // 320 % (width - width // 8)
        street[height // 3 : height // 3 * 2, x : x + width // 8] = 235
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = np.clip(street, 0, 255)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


class _Sink:
    """Receives what FFmpeg's packer writes: one RTP or RTCP packet a time."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def frames(self) -> tuple[Sent, ...]:
        """The RTP packets by frame, which all packets of one time are."""
        grouped: dict[int, list[bytes]] = {}
        for packet in self._written:
            if 200 <= packet[1] <= 204:
                continue  # RTCP
            (at,) = struct.unpack(">I", packet[4:8])
            grouped.setdefault(at, []).append(packet[_HEAD:])
        first = next(iter(grouped))
        return tuple(
            Sent(tuple(packets), ((at - first + 2**31) % 2**32 - 2**31) / 90_000) for at, packets in grouped.items()
        )
