"""Clips drawn for the tests, and an RTSP server that serves them on a free port."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

Draw = Callable[..., Path]


@pytest.fixture
def draw_clip(tmp_path: Path) -> Draw:
    """Draws an H.264 clip without B frames: a quiet street, and from `moves_s` on a bright block that crosses it."""

    def draw(
        name: str = "clip.mp4",
        *,
        seconds: float = 2.0,
        fps: int = 10,
        size: tuple[int, int] = (320, 192),
        moves_s: float = 1e9,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = size
        rng = np.random.default_rng(1)
        street = rng.integers(60, 140, (height, width, 3), dtype=np.uint8) // 20 * 20
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps, options={"bf": "0", "g": str(fps), "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for i in range(round(seconds * fps)):
                image = street.copy()
                if i / fps >= moves_s:
                    x = int((i / fps - moves_s) * width * 0.6) % (width - 50)
                    image[height // 3 : height // 3 + 50, x : x + 50] = 250
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())
        return path

    return draw


class RtspServer:
    """A real RTSP server in a process of its own, that can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._control_port = _free_ports()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        return f"rtsp://127.0.0.1:{self.port}/{name}?play_count=0"

    def start(self) -> None:
        command = Path(sys.executable).parent / "rtsp-server"
        ports = ["--port", str(self.port), "--control-port", str(self._control_port)]
        self._process = subprocess.Popen(
            [str(command), "--dir", str(self.folder), "--host", "127.0.0.1", *ports],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end_s = time.monotonic() + 15
        while time.monotonic() < end_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("the RTSP server did not start")

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def rtsp_server(tmp_path: Path) -> Iterator[RtspServer]:
    server = RtspServer(tmp_path)
    yield server
    server.kill()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
