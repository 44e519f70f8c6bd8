"""`python -m motion.snapshots` writes pictures of a camera or video to stdout at intervals; edge nodes run it.

The input is one line of JSON (`Order`); the output is, for each picture, a line of JSON and the bytes of the JPEG, as
`models.run` reads them. A lost camera is opened again, and each loss is a line with its reason; a file ends.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import msgspec
import structlog

from functions import utc_now
from motion.config import ConfigError, cameras_path, load_cameras
from motion.opening import StreamError, is_file
from motion.picture import Picture
from motion.reading import read_file
from motion.stream import LIVE, Stream

_WIDTH_PX, _QUALITY = 1920, 90
_WATCH_S = 1.0

_Write = Callable[[str, str, bytes, str], None]


class Order(msgspec.Struct, frozen=True):
    """What to read, and how often.

    Attributes:
        camera: an address such as `rtsp://…`, the path of a video, or the id of a camera in cameras.yaml here.
        every_s: minimum time between two pictures, by the file's clock if it is a file.
        count: how many pictures; 0: until stopped.
        name: the name of the pictures, because an address may contain a password.
    """

    camera: str
    name: str
    every_s: float = 5.0
    count: int = 0


def main() -> None:
    """Run until there are enough pictures, or the reader is gone.

    Raises:
        SystemExit: with one line on stderr, without the address, if nothing can be read.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
        url = _address(order.camera)
        take = _read_file if is_file(url) else _read_live
        take(url, order, _write)
    except (StreamError, ConfigError, msgspec.MsgspecError) as error:
        sys.exit(f"bongsu: {error}")
    except BrokenPipeError:
        sys.exit(1)


def _address(camera: str) -> str:
    if "://" in camera or "/" in camera or camera.startswith("webcam:"):
        return camera
    known = {c.id: c for c in load_cameras(cameras_path()).cameras}
    if camera not in known:
        raise ConfigError(f"no camera {camera!r} in {cameras_path()}: it has {', '.join(known) or 'none'}")
    return known[camera].url.get_secret_value()


def _read_file(path: str, order: Order, write: _Write) -> None:
    due_s, taken = 0.0, 0
    for number, frame in enumerate(read_file(path)):
        at_s = number / 25 if frame.time is None else frame.time
        if at_s < due_s:
            continue
        due_s, taken = at_s + order.every_s, taken + 1
        picture = Picture(frame, utc_now(), time.monotonic())
        write(f"{order.name}@{at_s:.1f}s", "", picture.jpeg(_WIDTH_PX, _QUALITY), "")
        if taken == order.count:
            return


def _read_live(url: str, order: Order, write: _Write) -> None:
    ended, lock = threading.Event(), threading.Lock()
    due_at_s, taken = 0.0, 0

    def pass_on(at: str, jpeg: bytes, lost: str = "") -> None:
        try:
            with lock:
                if not ended.is_set():
                    write(order.name, at, jpeg, lost)
        except BrokenPipeError:
            ended.set()

    def on_picture(picture: Picture) -> None:
        nonlocal due_at_s, taken
        if picture.at_s < due_at_s or ended.is_set():
            return
        due_at_s, taken = picture.at_s + order.every_s, taken + 1
        pass_on(picture.captured_at.isoformat(timespec="milliseconds"), picture.jpeg(_WIDTH_PX, _QUALITY))
        if taken == order.count:
            ended.set()

    def on_state(state: str) -> None:
        if state != LIVE:
            pass_on(utc_now().isoformat(timespec="milliseconds"), b"", state)

    stream = Stream(order.name, url, on_picture, on_state)
    stream.start()
    while not ended.wait(_WATCH_S):
        stream.watch()
    stream.stop()


def _write(source: str, at: str, jpeg: bytes, lost: str) -> None:
    header = {"source": source, "at": at, "bytes": len(jpeg), "lost": lost}
    sys.stdout.buffer.write(msgspec.json.encode(header) + b"\n" + jpeg)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
