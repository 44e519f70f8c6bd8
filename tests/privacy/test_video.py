"""Public clips: every picture is covered, also where a face was found in its neighbours alone; doubt withholds all."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from functions.event import Box, Detection
from privacy.faces import Face, RedactionError
from privacy.video import Limit, RedactedVideo, Searcher, redact_video, require_redacted_video

FACE = Face((60, 60, 100, 100), 0.9)


def video(pictures: int = 10, *, rate: int = 5, size: int = 160, grow_at: int = -1) -> bytes:
    """Noise, so that what is covered differs from what is not; lossless enough to tell them apart."""
    noise = np.random.default_rng(1).integers(0, 255, (size // 4, size // 4, 3), dtype=np.uint8)
    image = noise.repeat(4, axis=0).repeat(4, axis=1)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for number in range(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


class Faces:
    """Finds a face in the pictures of these numbers, until it is covered; `ever` finds one that nothing covers."""

    def __init__(self, *numbers: int, ever: bool = False) -> None:
        self.numbers, self.ever, self.seen = numbers, ever, 0

    def find(self, image: np.ndarray, *, is_close: bool = True) -> list[Face]:
        if not is_close:
            # Wherever the mosaics are, it is beside them.
            return [Face((120, 120, 124, 124), 0.9)] if self.ever and detail(image[116:128, 116:128]) >= 0 else []
        self.seen += 1
        return [FACE] if self.seen - 1 in self.numbers else []


def detail(part: np.ndarray) -> float:
    return float(np.abs(np.diff(part.astype(int), axis=1)).mean())


def shown(made: RedactedVideo) -> list[np.ndarray]:
    with av.open(io.BytesIO(made.mp4)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def searcher(faces, people=(), searched=("person",)) -> Searcher:
    return Searcher(faces, lambda image: people, searched)


def test_face_is_covered_in_the_pictures_around_it_too():
    found = shown(redact_video(video(), searcher(Faces(4)), Limit(60)))
    covered = [detail(image[62:98, 62:98]) < 12 for image in found]
    assert covered == [number in (2, 3, 4, 5, 6) for number in range(10)]
    assert all(detail(image[:, :30]) > 12 for image in found)


def test_head_of_a_person_is_covered_without_a_face():
    person = Detection("person", 0.7, Box(0.4, 0.4, 0.7, 1.0))
    found = shown(redact_video(video(3), searcher(Faces(), [person]), Limit(60)))
    assert len(found) == 3 and all(detail(image[66:90, 66:110]) < 12 for image in found)


def test_clip_is_small_and_slow_and_keeps_its_length():
    made = redact_video(video(20, rate=20, size=800), searcher(Faces()), Limit(60))
    assert [image.shape for image in shown(made)] == [(640, 640, 3)] * 5
    with av.open(io.BytesIO(made.mp4)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert 0.9 <= float(container.duration / av.time_base) <= 1.1


@pytest.mark.parametrize(
    ("mp4", "given", "reason"),
    [
        (video(3), searcher(Faces(), searched=("car",)), "nobody looked for person"),
        (b"no video", searcher(Faces()), "could not be processed"),
        (video(10)[:-300], searcher(Faces()), "no picture|could not be processed"),
        (video(3, size=12), searcher(Faces()), "too small to be searched"),
    ],
)
def test_doubtful_clip_is_withheld(mp4, given, reason):
    with pytest.raises(RedactionError, match=reason):
        redact_video(mp4, given, Limit(60))


def test_face_that_stays_in_sight_withholds_the_clip():
    class Moving(Faces):
        def find(self, image, *, is_close=True):
            self.seen += 1
            at = 10 * (self.seen % 12)
            return [] if is_close else [Face((at, 4, at + 4, 8), 0.9)]

    with pytest.raises(RedactionError, match="faces are still found after 3 passes"):
        redact_video(video(3), searcher(Moving()), Limit(60))


def test_clip_with_a_second_stream_is_withheld():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        streams = [container.add_stream("libx264", rate=5) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for stream in streams:
            container.mux([*stream.encode(av.VideoFrame(64, 64, "yuv420p")), *stream.encode()])
    with pytest.raises(RedactionError, match="one video stream"):
        redact_video(out.getvalue(), searcher(Faces()), Limit(60))


def test_time_and_the_end_of_the_process_withhold_it():
    with pytest.raises(RedactionError, match="more than 0 s"):
        redact_video(video(3), searcher(Faces()), Limit(0))
    limit = Limit(60)
    limit.stopping.set()
    with pytest.raises(RedactionError, match="process ends"):
        redact_video(video(3), searcher(Faces()), limit)


def test_damaged_picture_withholds_the_clip():
    whole = bytearray(video(10))
    at = whole.index(b"mdat") + 3000
    whole[at : at + 200] = bytes(200)
    with pytest.raises(RedactionError):
        redact_video(bytes(whole), searcher(Faces()), Limit(60))


@pytest.mark.parametrize("fake", [b"mp4", "video", 5])
def test_only_a_redacted_video_is_published(fake):
    with pytest.raises(TypeError, match="RedactedVideo"):
        require_redacted_video(fake)
    with pytest.raises(TypeError, match="not by hand"):
        RedactedVideo(b"mp4", object())
