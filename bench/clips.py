"""What clips cost: copying a camera's packets into an MP4 and sealing it, against encoding the same pictures again.

    BONGSU_CLIPS=FOLDER python -m bench clips

FOLDER holds videos of fixed cameras (H.264 in MP4; not shipped); without it, the clips of the demo are used.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from functions.clip import seal_clip
from motion.clip import CODECS, Clip, ClipLimits, ClipRecorder
from motion.decoding import Arrival
from motion.reading import START_AT

DEMO = Path(__file__).parents[1] / "local/demo/media"
_KEY = bytes([9, *bytes(31)])


def _packets(container: Any) -> Iterator[Any]:
    return (packet for packet in container.demux(video=0) if packet.size and packet.pts is not None)


def _copy(path: Path) -> tuple[float, float, list[Clip]]:
    """Record everything; CPU seconds without reading the file, seconds of video, and the clips."""
    clips: list[Clip] = []
    recorder = ClipRecorder("bench", ClipLimits(before_s=5, after_s=1e6), 1.0, clips.append)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        arrivals = []
        for packet in _packets(container):
            at_s = float(packet.pts * packet.time_base)
            arrivals.append(Arrival(packet, START_AT + timedelta(seconds=at_s), at_s))
        began_s = time.process_time()
        recorder.connect(stream)
        for arrival in arrivals:
            recorder.trigger(START_AT, arrival.captured_at)
            recorder.add(stream, arrival)
        recorder.disconnect(stream)
        for clip in clips:
            seal_clip(clip.name, clip.mp4, _KEY)
        spent_s = time.process_time() - began_s
    return spent_s, arrivals[-1].at_s - arrivals[0].at_s, clips


def _encode(path: Path) -> float:
    """CPU seconds to decode and encode it again, by x264's fastest preset."""
    began_s = time.process_time()
    with av.open(str(path)) as container, av.open(io.BytesIO(), "w", format="mp4") as out:
        stream = container.streams.video[0]
        encoder = out.add_stream("libx264", rate=stream.average_rate, options={"preset": "ultrafast"})
        encoder.width, encoder.height, encoder.pix_fmt = stream.width, stream.height, "yuv420p"
        encoder.codec_context.thread_count = stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = number, 1 / Fraction(stream.average_rate)
            out.mux(encoder.encode(picture))
        out.mux(encoder.encode())
    return time.process_time() - began_s


def rows(scale: float = 1.0) -> list[tuple[str, str, str]]:
    """What was measured of each video, for the table of `python -m bench`."""
    del scale
    found = []
    for path in sorted(Path(os.environ.get("BONGSU_CLIPS") or DEMO).glob("*.mp4")):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            codec, size = stream.codec_context.name, f"{stream.width}x{stream.height}"
        if codec not in CODECS:
            continue
        spent_s, seconds, clips = _copy(path)
        per_s = sum(len(clip.mp4) for clip in clips) / seconds
        again_s = _encode(path)
        what = f"{path.stem}, {size} {codec}, {per_s * 8 / 1e6:.1f} Mbit/s: CPU of an hour of clips"
        copied, encoded = spent_s / seconds * 3600, again_s / seconds * 3600
        found.append((what, f"{copied:.1f} s; encoded again {encoded:.0f} s; 11 s are {per_s * 11 / 1e6:.1f} MB", ""))
    return found
