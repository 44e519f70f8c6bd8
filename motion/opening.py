"""The only place that opens a camera: its URL to a container and a video stream, or the reason in one line."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import av
import av.error
import av.logging
import structlog
from av.stream import Disposition

log = structlog.get_logger()

OPEN_TIMEOUT_S = 5.0
SILENCE_S = 5.0  # no packet for so long is a dead stream
_MIN_SIDE, _MAX_PX = 32, 4096 * 2304
_UNSUPPORTED_TRANSPORT = 461
# TCP: over UDP a burst of loss is a grey picture. Short analysis: the default of 5 s is most of a start.
_RTSP = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "analyzeduration": "500000",
    "probesize": "200000",
}


class StreamError(Exception):
    """A camera cannot be opened or read; one line that holds no URL."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status
        """What the camera answered over RTSP, 0 where it answered nothing or all was well."""


def is_file(url: str) -> bool:
    """Whether a camera is a file that is played, and not a live one."""
    return "://" not in url and _webcam(url) is None


@contextmanager
def opened(url: str) -> Iterator[tuple[Any, Any]]:
    """A container and its video stream, closed at the end.

    Raises:
        StreamError: it cannot be opened, or holds no video.
    """
    container = _container(url)
    try:
        stream = _video(container.streams.video)
        # One thread: a node has more cameras than cores, and every decoding thread holds its frame back by one.
        stream.codec_context.thread_count = 1
        yield container, stream
    finally:
        with suppress(av.error.FFmpegError, OSError):
            container.close()


def _container(url: str) -> Any:
    webcam = _webcam(url)
    if webcam is not None:
        return _open(f"/dev/video{webcam}", "v4l2", {})
    if is_file(url):
        # FFmpeg takes the part before a colon in a file's name for a protocol.
        return _open(f"file:{url}", None, {})
    try:
        return _open(url, None, _RTSP)
    except StreamError as error:
        if error.status != _UNSUPPORTED_TRANSPORT:
            raise
        container = _open(url, None, {**_RTSP, "rtsp_transport": "udp"})
        log.warning("camera_reads_udp", reason="the camera refused TCP: a loss on the way shows as a broken picture")
        return container


def _open(source: str, form: str | None, options: dict[str, str]) -> Any:
    began_at_s = time.monotonic()
    with _Complaints() as complaints:
        try:
            return av.open(source, format=form, options=options, timeout=(OPEN_TIMEOUT_S, SILENCE_S))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if time.monotonic() - began_at_s >= OPEN_TIMEOUT_S:  # FFmpeg calls it invalid data
                raise StreamError(f"no answer for {OPEN_TIMEOUT_S:g} s") from None
            raise _explained(error, complaints.lines) from None


def _video(found: Sequence[Any]) -> Any:
    """The first stream of moving pictures: a cover picture comes first in some files."""
    moving = [stream for stream in found if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise StreamError("holds no video but a cover picture" if found else "holds no video")
    return moving[0]


def _webcam(url: str) -> int | None:
    number = url.removeprefix("webcam:")
    return int(number) if number.isdecimal() else None


def require_size(frame: av.VideoFrame) -> None:
    """Refuse a picture that nothing can be made of.

    Raises:
        StreamError: it is too small or too big.
    """
    size = f"the picture is {frame.width}x{frame.height}"
    if min(frame.width, frame.height) < _MIN_SIDE:
        raise StreamError(f"{size}: too small to see anything in, {_MIN_SIDE}x{_MIN_SIDE} is the least")
    if frame.width * frame.height > _MAX_PX:
        raise StreamError(f"{size}: too big to decode in time, 4096x2304 is the most: use the camera's sub-stream")


class _Complaints:
    """What FFmpeg logs in this thread: an RTSP status or a host's name is in its log and not in its error."""

    _lock = threading.Lock()
    _open = 0

    def __enter__(self) -> _Complaints:
        with _Complaints._lock:
            _Complaints._open += 1
            av.logging.set_level(av.logging.ERROR)
        self._capture = av.logging.Capture(local=True)
        self.lines: list[tuple[int, str, str]] = self._capture.__enter__()
        return self

    def __exit__(self, *of: object) -> None:
        self._capture.__exit__(None, None, None)
        with _Complaints._lock:
            _Complaints._open -= 1
            if not _Complaints._open:
                av.logging.set_level(None)


# Another thread's complaints, while one listens, hold URLs: they go nowhere.
logging.getLogger("libav").addHandler(logging.NullHandler())
logging.getLogger("libav").propagate = False

_STATUS = re.compile(r"method \w+ failed: (\d{3}) *\(?([^)\n]*)")
_CAUSES = {
    453: "too many viewers: the recorder or camera serves no more streams at once",
    461: "it takes neither TCP nor UDP",
    503: "too many viewers, or it is starting: the recorder or camera serves no more streams now",
}

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (av.error.FileNotFoundError, "no such file or device"),
    (av.error.PermissionError, "permission denied"),
    (av.error.IsADirectoryError, "is a folder, not a video"),
    (av.error.ConnectionRefusedError, "connection refused: is the camera on, and the port right?"),
    (av.error.HTTPUnauthorizedError, "user name or password refused"),
    (av.error.HTTPForbiddenError, "access forbidden"),
    (av.error.HTTPNotFoundError, "the camera has no such stream"),
    (av.error.InvalidDataError, "holds no video that can be read"),
)


def _explained(error: Exception, complaints: Sequence[tuple[int, str, str]]) -> StreamError:
    said = " ".join(line[2] for line in complaints)
    if "Failed to resolve hostname" in said:
        return StreamError("no such host: check the name in its url, and this machine's DNS")
    status = _STATUS.search(said)
    if status is not None and not isinstance(error, tuple(kind for kind, _ in _REASONS)):
        number, words = int(status[1]), status[2].strip()
        cause = f": {_CAUSES[number]}" if number in _CAUSES else ""
        return StreamError(f"the camera answered {number} {words}{cause}", number)
    return StreamError(reason(error, OPEN_TIMEOUT_S))


def reason(error: Exception, limit_s: float) -> str:
    """Why, in one line without the URL that FFmpeg puts into its own message."""
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    if isinstance(error, av.error.ExitError | TimeoutError):
        return f"no answer for {limit_s:g} s"
    said = getattr(error, "strerror", None) or type(error).__name__
    return " ".join(str(said).split()).lower()
