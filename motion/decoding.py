"""Which packets of a stream are decoded: a quiet camera's key frames only, and all of one where something moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import av
import av.error
from prometheus_client import Counter

from motion.opening import StreamError
from motion.picture import Picture

FRAMES_SPARED = Counter("bongsu_frames_spared_total", "Frames not decoded because nothing moved", ["camera"])

Way = Literal["watching", "key frames", "some", "all"]

_BAD_PACKETS = 100
_INTERVALS = 3  # so many key frame intervals in a row must fit before a stream is left undecoded between them
_INTRA = 10  # so many key frames in a row, and each packet is one
_LOOK_S = 0.18  # of a stream of key frames alone so many seconds apart are decoded while it is quiet
_MOST_BYTES = 24e6  # kept of one camera: two intervals of four seconds at 24 Mbit/s


class Watcher(Protocol):
    """Who looks at the pictures, and says when more of them are needed. Called in the thread that decodes."""

    def suspects(self, picture: Picture) -> bool:
        """Look at a key frame while nothing else is decoded; True if something may be moving."""

    def wants(self, at_s: float) -> bool:
        """Whether frames are needed now, whatever the key frames show."""

    def may_rest(self, at_s: float) -> bool:
        """Whether nothing moves, and key frames are enough."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet and when it came."""

    packet: Any
    captured_at: datetime
    at_s: float

    def shows(self, frame: av.VideoFrame) -> Picture:
        """What was decoded of it."""
        return Picture(frame, self.captured_at, self.at_s)


class Decoder:
    """Turns packets into pictures, as few as the watcher gets by with.

    While a camera is quiet, its key frames are decoded and nothing else. The packets since the key frame before the
    last are kept: once a key frame looks different they are decoded from there, so that what happened between the two
    is seen, and pictures from before the alarm are there. Without a watcher every packet is decoded.
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
        self._bad = 0

    def feed(self, arrival: Arrival) -> Iterator[Picture]:
        """Take the next packet; gives the pictures to look at, in order.

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
            # What came before it has been decoded and looked at.
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
        frames = [*self._decode(arrival), *self._drain(arrival)]
        if any(self._watcher.suspects(picture) for picture in frames):
            yield from self._wake()

    def _wake(self) -> Iterator[Picture]:
        self.is_resting = False
        self._codec.flush_buffers()
        for kept in list(self._kept):
            yield from self._decode(kept)

    def _drain(self, arrival: Arrival) -> list[Picture]:
        """What the decoder holds back for the sake of order: after a key frame alone there is nothing to wait for."""
        try:
            frames = self._codec.decode(None)
        except av.error.FFmpegError:
            frames = []
        self._codec.flush_buffers()
        return [arrival.shows(frame) for frame in frames]

    def _decode_some(self, arrival: Arrival) -> Iterator[Picture]:
        """Of a stream in which each picture stands alone: as many as are looked at."""
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
            # Before the first key frame nothing can be decoded, and that may be long in coming.
            if self._bad >= _BAD_PACKETS and self._decoded_at_s:
                raise StreamError(f"{self._bad} packets in a row cannot be decoded") from None
            frames = []
        if frames:
            self._bad = 0
            self._decoded_at_s = arrival.at_s
        for frame in frames:
            yield arrival.shows(frame)

    def _keep(self, arrival: Arrival) -> None:
        """Keep the packets of this key frame interval and the one before."""
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
        """Find the cheapest way that loses nothing."""
        self.way, self.reason = self._cheapest(arrival.at_s)

    def _cheapest(self, at_s: float) -> tuple[Way, str]:
        keys = self._key_at_s
        if self._keys_in_a_row >= _INTRA:
            return "some", "every frame is a key frame"
        if self._kept_bytes > _MOST_BYTES:
            self._key_at_s.clear()
            return "all", f"more than {_MOST_BYTES / 1e6:g} MB from one key frame to the next"
        longest_s = max([b - a for a, b in zip(list(keys), [*list(keys)[1:], at_s], strict=True)], default=0.0)
        if longest_s > self._max_latency_s:
            return "all", f"key frames are {longest_s:.1f} s apart, over max_latency_s of {self._max_latency_s:g}"
        if len(keys) > _INTERVALS:
            return "key frames", f"key frames come every {(keys[-1] - keys[0]) / (len(keys) - 1):.1f} s"
        return (self.way, self.reason) if self.way == "all" else ("watching", self.reason)

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
