"""The only place that opens a camera: its URL to a container and a video stream, or the reason in one line."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import av
import av.error
import av.logging
import structlog
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.stream import Disposition

log = structlog.get_logger()

NO_HARDWARE = "none"
OPEN_TIMEOUT_S = 5.0
SILENCE_S = 5.0  # a stream without a packet for this long is dead
_MIN_SIDE, _MAX_PX = 32, 4096 * 2304
_UNSUPPORTED_TRANSPORT = 461
# TCP: over UDP a burst of lost packets gives a grey picture. Short analysis: the default 5 s is most of a start.
_RTSP = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "analyzeduration": "500000",
    "probesize": "200000",
}


class StreamError(Exception):
    """A camera cannot be opened or read; the message is one line without a URL."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status
        """The camera's RTSP status; 0 if it did not answer, or the error is not the camera's."""


def is_file(url: str) -> bool:
    """Whether a camera is a file to play, not a live one."""
    return "://" not in url and _webcam(url) is None


@cache
def accelerates(device: str) -> bool:
    """Whether this machine can decode on a kind of device (`vaapi`, `cuda`, `qsv`); if not, that is logged once."""
    if device == NO_HARDWARE:
        return False
    if device not in (known := hwdevices_available()):
        log.warning("hardware_decoding_unavailable", device=device, reason=f"this FFmpeg knows {', '.join(known)}")
        return False
    try:
        av.CodecContext.create("h264", "r", HWAccel(device, allow_software_fallback=False))
    except (av.error.FFmpegError, OSError, RuntimeError, ValueError, NotImplementedError) as error:
        log.warning("hardware_decoding_unavailable", device=device, reason=reason(error, OPEN_TIMEOUT_S))
        return False
    return True


@contextmanager
def opened(url: str, hardware: str = NO_HARDWARE) -> Iterator[tuple[Any, Any]]:
    """Open a container and its video stream; both are closed at the end.

    With `hardware` it is decoded on that kind of device if there is one and it knows the codec, else in software.

    Raises:
        StreamError: it cannot be opened, or holds no video.
    """
    container = _container(url, hardware)
    try:
        stream = _video(container.streams.video)
        # One thread: a node has more cameras than cores, and each further decoding thread delays pictures by a frame.
        stream.codec_context.thread_count = 1
        yield container, stream
    finally:
        with suppress(av.error.FFmpegError, OSError):
            container.close()


def _container(url: str, hardware: str) -> Any:
    webcam = _webcam(url)
    if webcam is not None:
        return _open(f"/dev/video{webcam}", "v4l2", {})
    if is_file(url):
        # FFmpeg reads the part of a file's name before a colon as a protocol.
        return _open(f"file:{url}", None, {}, hardware)
    try:
        return _open(url, None, _RTSP, hardware)
    except StreamError as error:
        if error.status != _UNSUPPORTED_TRANSPORT:
            raise
        container = _open(url, None, {**_RTSP, "rtsp_transport": "udp"}, hardware)
        log.warning("camera_reads_udp", reason="the camera refused TCP: lost packets show as broken pictures")
        return container


def _open(source: str, form: str | None, options: dict[str, str], hardware: str = NO_HARDWARE) -> Any:
    device = HWAccel(hardware, allow_software_fallback=True) if accelerates(hardware) else None
    began_at_s = time.monotonic()
    with _Complaints() as complaints:
        try:
            return av.open(source, format=form, options=options, timeout=(OPEN_TIMEOUT_S, SILENCE_S), hwaccel=device)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if time.monotonic() - began_at_s >= OPEN_TIMEOUT_S:  # FFmpeg reports a timeout as invalid data
                raise StreamError(f"no answer for {OPEN_TIMEOUT_S:g} s") from None
            raise _explained(error, complaints.lines) from None


def _video(found: Sequence[Any]) -> Any:
    """The first video stream that is not a cover picture, which comes first in some files."""
    moving = [stream for stream in found if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise StreamError("holds no video but a cover picture" if found else "holds no video")
    return moving[0]


def _webcam(url: str) -> int | None:
    number = url.removeprefix("webcam:")
    return int(number) if number.isdecimal() else None


def require_size(frame: av.VideoFrame) -> None:
    """Check that a picture's size is usable.

    Raises:
        StreamError: it is too small or too big.
    """
    size = f"the picture is {frame.width}x{frame.height}"
    if min(frame.width, frame.height) < _MIN_SIDE:
        raise StreamError(f"{size}: too small to detect anything, the minimum is {_MIN_SIDE}x{_MIN_SIDE}")
    if frame.width * frame.height > _MAX_PX:
        raise StreamError(f"{size}: too big to decode in time, the maximum is 4096x2304: use the camera's sub-stream")


class _Complaints:
    """Collects FFmpeg's log of this thread: RTSP statuses and unresolved hosts are in its log, not in its errors."""

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


# Lines of other threads are dropped: they contain URLs.
logging.getLogger("libav").addHandler(logging.NullHandler())
logging.getLogger("libav").propagate = False

_STATUS = re.compile(r"method \w+ failed: (\d{3}) *\(?([^)\n]*)")
_CAUSES = {
    453: "too many viewers: the recorder or camera serves no more streams at once",
    461: "it supports neither TCP nor UDP",
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
    text = " ".join(line[2] for line in complaints)
    if "Failed to resolve hostname" in text:
        return StreamError("no such host: check the name in its url, and this machine's DNS")
    status = _STATUS.search(text)
    if status is not None and not isinstance(error, tuple(kind for kind, _ in _REASONS)):
        number, words = int(status[1]), status[2].strip()
        cause = f": {_CAUSES[number]}" if number in _CAUSES else ""
        return StreamError(f"the camera answered {number} {words}{cause}", number)
    return StreamError(reason(error, OPEN_TIMEOUT_S))


def reason(error: Exception, limit_s: float) -> str:
    """The reason in one line, without the URL that FFmpeg puts into its message."""
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    if isinstance(error, av.error.ExitError | TimeoutError):
        return f"no answer for {limit_s:g} s"
    message = getattr(error, "strerror", None) or type(error).__name__
    return " ".join(str(message).split()).lower()
