"""Videos for the public: every picture of a clip is redacted; only this module creates a `RedactedVideo`.

As with pictures (`privacy/redact.py`), whatever is in doubt is withheld, and here that is the whole clip. The process
that makes public clips, `notify/clips.py`, calls it.

A face that is found in one picture may be missed in the next, and one uncovered picture is enough to show it. So what
is found in a picture is covered in its neighbours too, and each picture is searched again once it is covered. A public
clip is small and slow: 640 pixels and five pictures a second, each of which is searched.
"""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from functions.event import Detection
from functions.reasons import one_line
from privacy.faces import Face, FaceFinder, RedactionError, Region
from privacy.mosaic import PERSON, VEHICLES, Plan, cover, covered_mask, plan
from privacy.redact import uncovered

if TYPE_CHECKING:
    from privacy.faces import Image

_SEAL = object()
SIDE_MAX = 640
RATE = 5
"""Pictures a second."""
NEIGHBOURS = 2
"""How many pictures before and after one are covered as it is: 0.4 s, in which a person walks half a metre."""
_LOOKS_MAX = 3
_SIDE_MIN = 16
_TICKS = 1000
_QUALITY = "26"

FindPeople = Callable[["Image"], Sequence[Detection]]
"""Finds people and vehicles in a BGR picture."""


@dataclass(frozen=True, slots=True)
class RedactedVideo:
    """An MP4 (H.264, no sound) that may be shown to the public. Only the functions below create it."""

    mp4: bytes
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a RedactedVideo is made by redact_video() or read_back_video(), not by hand")


@dataclass(frozen=True, slots=True)
class Searcher:
    """Finds what must be covered."""

    faces: FaceFinder
    people: FindPeople
    searched: Sequence[str]
    """Labels that `people` looks for; without "person" every clip is withheld."""
    with_plates: bool = False
    """Whether the lower part of vehicles is covered too."""


@dataclass(slots=True)
class _Picture:
    at: int
    """Milliseconds since the first."""
    image: Image
    plan: Plan = field(default_factory=Plan)


@dataclass(frozen=True, slots=True)
class Limit:
    """When a clip is given up."""

    within_s: float
    """Seconds that it may take."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the process ends."""
    begun_at: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise RedactionError where it is reached."""
        if self.stopping.is_set():
            raise RedactionError("the process ends")
        if time.monotonic() - self.begun_at > self.within_s:
            raise RedactionError(f"it took more than {self.within_s:g} s")


def redact_video(mp4: bytes, searcher: Searcher, limit: Limit) -> RedactedVideo:
    """Pixelate every face and every person's head in every picture, and encode the video again.

    Args:
        mp4: a camera's video.
        searcher: finds faces and people.
        limit: when to give up.

    Raises:
        RedactionError: complete redaction is not certain, so the clip must be withheld.
    """
    import av
    import cv2

    for label in (PERSON, *(VEHICLES if searcher.with_plates else ())):
        if label not in searcher.searched:
            raise RedactionError(f"nobody looked for {label}")
    try:
        covered = _cover_all(_search_all(_read(mp4), searcher, limit), searcher.faces, limit)
        return RedactedVideo(_write(covered), _SEAL)
    except (av.FFmpegError, cv2.error, MemoryError, ValueError) as error:
        raise RedactionError(f"the video could not be processed: {one_line(error)}") from error


def read_back_video(mp4: bytes) -> RedactedVideo:
    """A clip from the public store, which holds only `RedactedVideo`; only `store/public_clips.py` calls it."""
    return RedactedVideo(mp4, _SEAL)


def require_redacted_video(video: object) -> None:
    """Refuse anything but a `RedactedVideo`, at run time too; every sink calls it before it publishes.

    Raises:
        TypeError: it is of another type.
    """
    if type(video) is not RedactedVideo:
        raise TypeError(f"only a RedactedVideo may be shown to the public, got {type(video).__name__}")


def _read(mp4: bytes) -> Iterator[_Picture]:
    """Five pictures a second of the video, made small.

    Raises:
        RedactionError: a picture is damaged, rotated or of another size than the first.
    """
    import av

    size, first, due = (0, 0), 0.0, 0.0
    # By its format alone: a playlist in disguise would have FFmpeg open what it names.
    with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
        if len(container.streams) != 1 or not container.streams.video:
            raise RedactionError("the clip must have one video stream and nothing else")
        stream = container.streams.video[0]
        # What is damaged must not be guessed from its neighbours, as decoders do otherwise.
        # Decoding in threads loses errors, and is a hundredth of the work.
        stream.thread_type = "NONE"
        stream.codec_context.options = {"err_detect": "explode"}
        for frame in container.decode(stream):
            if frame.is_corrupt or frame.rotation:
                raise RedactionError("a picture of the clip is damaged or rotated")
            if size not in ((0, 0), (frame.width, frame.height)):
                raise RedactionError("the size of the pictures changes")
            if frame.time is None:
                raise RedactionError("a picture of the clip has no time")
            first = frame.time if size == (0, 0) else first
            size = frame.width, frame.height
            if frame.time - first >= due:
                due = frame.time - first + 1 / RATE - 0.01
                yield _Picture(round((frame.time - first) * _TICKS), _shrunk(frame))


def _shrunk(frame: Any) -> Image:
    scale = min(1.0, SIDE_MAX / max(frame.width, frame.height))
    # H.264 has colours for every second pixel only.
    width, height = (max(2, int(side * scale) // 2 * 2) for side in (frame.width, frame.height))
    if min(width, height) < _SIDE_MIN:
        raise RedactionError(f"the pictures are {frame.width}x{frame.height}: too small to be searched")
    image: Image = frame.to_ndarray(format="bgr24", width=width, height=height)
    return image


def _search_all(pictures: Iterator[_Picture], searcher: Searcher, limit: Limit) -> Iterator[_Picture]:
    """Each picture with what was found in it."""
    for picture in pictures:
        limit.check()
        height, width = picture.image.shape[:2]
        people = searcher.people(picture.image)
        faces = searcher.faces.find(picture.image)
        picture.plan = plan(people, faces, width, height, with_plates=searcher.with_plates)
        yield picture


def _cover_all(pictures: Iterator[_Picture], faces: FaceFinder, limit: Limit) -> Iterator[_Picture]:
    """Each picture, covered where it or a neighbour has something to cover."""
    near: deque[_Picture] = deque()
    place = 0
    for picture in pictures:
        near.append(picture)
        if len(near) - place > NEIGHBOURS:
            yield _covered(near, place, faces, limit)
            place += 1
            if place > NEIGHBOURS:
                near.popleft()
                place -= 1
    for left in range(place, len(near)):
        yield _covered(near, left, faces, limit)


def _covered(near: deque[_Picture], place: int, faces: FaceFinder, limit: Limit) -> _Picture:
    """A copy of one picture, searched again until no face is found outside the mosaics."""
    limit.check()
    picture = near[place]
    height, width = picture.image.shape[:2]
    around = [near[at] for at in range(max(0, place - NEIGHBOURS), min(len(near), place + NEIGHBOURS + 1))]
    made = Plan(heads=[region for each in around for region in _regions(each.plan)])
    for _ in range(_LOOKS_MAX):
        image = cover(picture.image, made)
        left: list[Face] = uncovered(faces.find(image, is_close=False), covered_mask(made, width, height))
        if not left:
            return _Picture(picture.at, image)
        made = made.with_faces(left)
    raise RedactionError(f"faces are still found after {_LOOKS_MAX} passes")


def _regions(made: Plan) -> list[Region]:
    """All that may be covered: a weapon before a head is covered with it, as both move."""
    return [*made.bands, *made.heads]


def _write(pictures: Iterator[_Picture]) -> bytes:
    """The pictures as an MP4. Its index is at the end, where players ask for it first."""
    import av

    out, encoder = io.BytesIO(), None
    with av.open(out, "w", format="mp4") as container:
        for picture in pictures:
            if encoder is None:
                options = {"crf": _QUALITY, "preset": "veryfast"}
                encoder = container.add_stream("libx264", rate=RATE, options=options)
                encoder.height, encoder.width = picture.image.shape[:2]
                encoder.pix_fmt, encoder.codec_context.time_base = "yuv420p", Fraction(1, _TICKS)
                encoder.gop_size = 2 * RATE
            frame = av.VideoFrame.from_ndarray(picture.image, format="bgr24")
            frame.pts, frame.time_base = picture.at, Fraction(1, _TICKS)
            container.mux(encoder.encode(frame))
        if encoder is None:
            raise RedactionError("the clip has no picture")
        container.mux(encoder.encode())
    return out.getvalue()
