"""Reads the packets of an opened stream, probes a camera, and reads whole files without a camera's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import av
import av.error

from functions.event import utc_now
from motion import opening
from motion.decoding import Arrival, Decoder, Watcher
from motion.opening import StreamError, opened, reason, require_size
from motion.picture import Picture

_MARGIN_S = 2.0  # beyond the longest useful key frame interval
START_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""The capture time given to the start of a file that is read as fast as possible."""


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream; a file's last packet is empty, and flushes the decoder."""
    asked_at_s = time.monotonic()
    try:
        for packet in container.demux(stream):
            yield packet
            asked_at_s = time.monotonic()
    except av.error.EOFError:
        return
    except av.error.FFmpegError as error:
        # FFmpeg reports a silent camera as an error of input or output.
        if isinstance(error, av.error.OSError) and time.monotonic() - asked_at_s >= opening.SILENCE_S:
            raise StreamError(f"nothing came for {opening.SILENCE_S:g} s") from None
        raise StreamError(reason(error, opening.SILENCE_S)) from None


@dataclass(frozen=True, slots=True)
class Probe:
    """The properties of a camera's stream."""

    codec: str
    width: int
    height: int
    fps: float
    """Frames a second as stated by the stream, 0 if it does not state it."""
    first_frame_s: float
    """Seconds from the start of opening to the first decoded frame."""
    picture: Picture
    decoding: str = ""
    """How the worker will decode it while it is quiet, and why."""


def probe(url: str, max_latency_s: float = 4.0) -> Probe:
    """Open a camera, decode one frame and measure its key frame interval. Blocks, usually for less than 10 s.

    Raises:
        StreamError: no frame could be read; the message has the reason in one line.
    """
    started_at_s = time.monotonic()
    with opened(url) as (container, stream):
        found = packets(container, stream)
        decoder = Decoder(stream.codec_context, "", None, 0.0)
        for packet in found:
            for picture in decoder.feed(Arrival(packet, utc_now(), time.monotonic())):
                require_size(picture.frame)
                rate = stream.average_rate or stream.guessed_rate
                return Probe(
                    codec=stream.codec_context.name,
                    width=picture.size[0],
                    height=picture.size[1],
                    fps=float(rate or 0),
                    first_frame_s=time.monotonic() - started_at_s,
                    picture=picture,
                    decoding=_foreseen(found, max_latency_s),
                )
    raise StreamError("holds no picture")


def _foreseen(found: Iterator[Any], max_latency_s: float) -> str:
    """How a stream will be decoded, judged by the packets after its first picture."""
    began_at_s, first_s, keys, others = time.monotonic(), None, [], 0
    for packet in _until_it_ends(found):
        if packet.size and packet.pts is not None:
            at_s = float(packet.pts * packet.time_base)
            first_s = at_s if first_s is None else first_s
            if packet.is_keyframe:
                keys.append(at_s)
            others += not packet.is_keyframe
            if len(keys) == 2 or at_s - first_s > max_latency_s + _MARGIN_S:
                break
        if time.monotonic() - began_at_s > max_latency_s + _MARGIN_S:
            break
    if len(keys) < 2:
        return f"all frames: no two key frames within {max_latency_s + _MARGIN_S:g} s, see max_latency_s"
    if not others:
        return "some frames: every frame is a key frame"
    apart = f"key frames come every {keys[1] - keys[0]:.1f} s"
    if keys[1] - keys[0] > max_latency_s:
        return f"all frames: {apart}, over max_latency_s of {max_latency_s:g}"
    return f"key frames while quiet: {apart}"


def _until_it_ends(found: Iterator[Any]) -> Iterator[Any]:
    with suppress(StreamError):
        yield from found


def read_file(path: str) -> Iterator[av.VideoFrame]:
    """Decode a file as fast as possible, as a camera is decoded.

    Raises:
        StreamError: it cannot be read.
    """
    with opened(path) as (container, stream):
        yield from _frames(container, stream)


def watch_file(
    path: str, watcher: Watcher, on_picture: Callable[[Picture], None], max_latency_s: float = 4.0
) -> Decoder:
    """Decode a file as fast as possible, as a live camera would be: each packet arrives at its own time in the file.

    Returns:
        The decoder, which says how it decoded the file and why.

    Raises:
        StreamError: it cannot be read.
    """
    with opened(path) as (container, stream):
        decoder = Decoder(stream.codec_context, "", watcher, max_latency_s)
        for packet in packets(container, stream):
            if packet.size and packet.pts is not None:
                at_s = float(packet.pts * packet.time_base)
                for picture in decoder.feed(Arrival(packet, START_AT + timedelta(seconds=at_s), at_s)):
                    on_picture(picture)
    return decoder


def _frames(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    decoder = Decoder(stream.codec_context, "", None, 0.0)
    for packet in packets(container, stream):
        for picture in decoder.feed(Arrival(packet, utc_now(), time.monotonic())):
            yield picture.frame
