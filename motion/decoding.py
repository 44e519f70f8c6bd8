"""Decides which packets of a stream are decoded: a quiet camera's key frames, and all packets when something moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal, Protocol

import av
import av.error
from prometheus_client import Counter

from motion.opening import StreamError
from motion.picture import Picture

FRAMES_SPARED = Counter("bongsu_frames_spared_total", "Frames not decoded because nothing moved", ["camera"])

Way = Literal["watching", "key frames", "some", "all"]

_BAD_PACKETS = 100
_INTERVALS = 3  # this many key frame intervals in a row must be short enough before packets between them are skipped
_INTRA = 10  # after this many key frames in a row, every packet counts as one
_LOOK_S = 0.18  # seconds between decoded frames of a quiet stream that has only key frames
_MOST_BYTES = 24e6  # buffered for one camera: two intervals of four seconds at 24 Mbit/s


class Watcher(Protocol):
    """Checks the pictures, and says when more of them are needed. Called in the decoding thread."""

    def suspects(self, picture: Picture) -> bool:
        """Check a key frame while nothing else is decoded; True if something may be moving."""

    def wants(self, at_s: float) -> bool:
        """Whether frames are needed now, whatever the key frames show."""

    def may_rest(self, at_s: float) -> bool:
        """Whether nothing moves, so that key frames are enough."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet and its arrival time."""

    packet: Any
    captured_at: datetime
    at_s: float

    def shows(self, frame: av.VideoFrame) -> Picture:
        """The picture that was decoded from it."""
        return Picture(frame, self.captured_at, self.at_s)


class Decoder:
    """Decodes packets into pictures, only as many as the watcher needs.

    While a camera is quiet, only its key frames are decoded. The packets since the last key frame but one are kept:
    when a key frame looks different, decoding starts there, so that everything between the two key frames is checked
    and pictures from before the motion exist. Without a watcher every packet is decoded.
    """

    def __init__(self, codec: Any, camera: str, watcher: Watcher | None, max_latency_s: float) -> None:
        self._codec = codec
        self._spared = FRAMES_SPARED.labels(camera)
        self._watcher = watcher
        self._max_latency_s = max_latency_s
        self.way: Way = "all" if watcher is None else "watching"
        self.reason = "asked for" if watcher is None else "the first key frames have not come yet"
        self.is_resting = False
        """Whether only key frames are decoded now."""
        self._kept: deque[Arrival] = deque()
        self._kept_bytes = 0
        self._key_at_s: deque[float] = deque(maxlen=_INTERVALS + 1)
        self._keys_in_a_row = 0
        self._decoded_at_s = 0.0
        self._size: tuple[int, int] | None = None
        self._bad = 0

    def feed(self, arrival: Arrival) -> Iterator[Picture]:
        """Process the next packet; yields the pictures to check, in order.

        Raises:
            StreamError: the packets cannot be decoded.
        """
        if self._watcher is None:
            yield from self._decode(arrival)
            return
        self._keep(arrival)
        self._choose(arrival)
        if self.way == "all":
            yield from self._wake() if self.is_resting else self._decode(arrival)
            self._forget()
        elif self.way == "some":
            yield from self._decode_some(arrival)
        elif self.way == "key frames" and self.is_resting:
            yield from self._rest(arrival)
        elif self.way == "key frames" and self._falls_asleep(arrival):
            # Earlier packets have been decoded and checked.
            self._kept = deque([arrival])
            self._kept_bytes = arrival.packet.size
            yield from self._rest(arrival)
        else:
            yield from self._decode(arrival)

    def _falls_asleep(self, arrival: Arrival) -> bool:
        assert self._watcher is not None
        self.is_resting = bool(arrival.packet.is_keyframe) and self._watcher.may_rest(arrival.at_s)
        return self.is_resting

    def _rest(self, arrival: Arrival) -> Iterator[Picture]:
        assert self._watcher is not None
        if self._watcher.wants(arrival.at_s):
            yield from self._wake()
            return
        if not arrival.packet.is_keyframe:
            self._spared.inc()
            return
        self._codec.flush_buffers()
        size = self._size
        frames = [*self._decode(arrival), *self._drain(arrival)]
        # A picture of another size is not for the watcher to judge: the reader opens the camera again.
        if any(picture.size != size or self._watcher.suspects(picture) for picture in frames):
            yield from self._wake()

    def _wake(self) -> Iterator[Picture]:
        self.is_resting = False
        self._codec.flush_buffers()
        for kept in list(self._kept):
            yield from self._decode(kept)

    def _drain(self, arrival: Arrival) -> list[Picture]:
        """The pictures that the decoder holds back for reordering; after a lone key frame nothing else comes."""
        try:
            frames = self._codec.decode(None)
        except av.error.FFmpegError:
            frames = []
        self._codec.flush_buffers()
        return [arrival.shows(frame) for frame in frames]

    def _decode_some(self, arrival: Arrival) -> Iterator[Picture]:
        """Decode as many pictures as are checked, from a stream that has only key frames."""
        assert self._watcher is not None
        self._forget()
        self.is_resting = not self._watcher.wants(arrival.at_s)
        if self.is_resting and arrival.at_s - self._decoded_at_s < _LOOK_S:
            self._spared.inc()
            return
        yield from self._decode(arrival)

    def _decode(self, arrival: Arrival) -> Iterator[Picture]:
        try:
            frames = self._codec.decode(arrival.packet)
        except (av.error.InvalidDataError, av.error.ExternalError):
            self._bad += 1
            # Before the first key frame nothing can be decoded, and it may take long to come.
            if self._bad >= _BAD_PACKETS and self._decoded_at_s:
                raise StreamError(f"{self._bad} packets in a row cannot be decoded: has its codec changed?") from None
            frames = []
        if frames:
            self._bad = 0
            self._decoded_at_s = arrival.at_s
        for picture in map(arrival.shows, frames):
            self._size = picture.size
            yield picture

    def _keep(self, arrival: Arrival) -> None:
        """Keep the packets of this key frame interval and of the one before."""
        if arrival.packet.is_keyframe:
            self._keys_in_a_row += 1
            self._key_at_s.append(arrival.at_s)
            while len(self._key_at_s) > 1 and self._kept and self._kept[0].at_s < self._key_at_s[-2]:
                self._kept_bytes -= self._kept.popleft().packet.size
        else:
            self._keys_in_a_row = 0
        self._kept.append(arrival)
        self._kept_bytes += arrival.packet.size

    def _choose(self, arrival: Arrival) -> None:
        """Choose the cheapest way of decoding that loses nothing."""
        self.way, self.reason = self._cheapest(arrival.at_s)

    def _cheapest(self, at_s: float) -> tuple[Way, str]:
        keys = self._key_at_s
        if self._keys_in_a_row >= _INTRA:
            return "some", "every frame is a key frame"
        if self._kept_bytes > _MOST_BYTES:
            self._key_at_s.clear()
            return "all", f"more than {_MOST_BYTES / 1e6:g} MB from one key frame to the next"
        # A stream is joined anywhere between two key frames: there may be none yet.
        longest_s = max((b - a for a, b in pairwise([*keys, at_s])), default=0.0)
        if longest_s > self._max_latency_s:
            return "all", f"key frames are {longest_s:.1f} s apart, over max_latency_s of {self._max_latency_s:g}"
        if len(keys) > _INTERVALS:
            return "key frames", f"key frames come every {(keys[-1] - keys[0]) / (len(keys) - 1):.1f} s"
        return (self.way, self.reason) if self.way == "all" else ("watching", self.reason)

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
