"""A camera made of a socket, for what no server of files does: it sends over RTSP what a test gives it."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from types import TracebackType

import av
import numpy as np

Units = list[bytes]
"""The parts (NAL units) of one encoded frame."""

_LONGEST = 1400
_SESSION = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
_H264 = """m=video 0 RTP/AVP 96\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 packetization-mode=1{sets}\r
a=control:track1\r
"""


def encoded(count: int, key_every: int, size: tuple[int, int] = (320, 192)) -> list[Units]:
    """So many H.264 frames, a whole picture every `key_every`."""
    codec = av.CodecContext.create("libx264", "w")
    (codec.width, codec.height), codec.pix_fmt = size, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, 25), Fraction(25, 1)
    codec.options = {"g": str(key_every), "sc_threshold": "0", "preset": "veryfast", "tune": "zerolatency"}
    street = np.random.default_rng(1).integers(60, 140, (size[1], size[0], 3), dtype=np.uint8)
    found = []
    for i in range(count):
        frame = av.VideoFrame.from_ndarray(street, format="bgr24")
        frame.pts = i
        found += [_units(bytes(packet)) for packet in codec.encode(frame)]
    return found


class Viewer:
    """Who has asked the camera to play."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.udp_port = 0
        """Where it asked to be sent to by UDP, 0 for TCP."""
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._number = 0
        self.is_gone = threading.Event()

    def close(self) -> None:
        """Hang up."""
        self._udp.close()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def send(self, units: Units, at_s: float) -> None:
        """Send one frame, with this time of the camera's clock."""
        packets: list[bytes] = []
        for unit in units:
            if len(unit) <= _LONGEST:
                packets.append(unit)
                continue
            pieces = [unit[i : i + _LONGEST] for i in range(1, len(unit), _LONGEST)]
            for i, piece in enumerate(pieces):
                ends = 0x80 * (i == 0) | 0x40 * (i == len(pieces) - 1)
                packets.append(bytes([unit[0] & 0xE0 | 28, ends | unit[0] & 0x1F]) + piece)
        self.send_payloads(packets, at_s)

    def send_payloads(self, payloads: Sequence[bytes], at_s: float) -> None:
        """Send one frame that is packed already, with this time of the camera's clock."""
        for packet in payloads:
            self._number += 1
            mark = 96 | 0x80 * (packet is payloads[-1])
            head = struct.pack(">BBHII", 0x80, mark, self._number & 0xFFFF, round(at_s * 90_000) & 0xFFFFFFFF, 1)
            if self.udp_port:
                self._udp.sendto(head + packet, ("127.0.0.1", self.udp_port))
                continue
            self._connection.sendall(b"$\0" + struct.pack(">H", len(head + packet)) + head + packet)


class RtspCamera:
    """Listens on a free port; `play` is called for each viewer, in a thread of its own, until that is gone."""

    def __init__(
        self,
        frames: list[Units],
        play: Callable[[Viewer], None],
        *,
        has_sets: bool = True,
        takes_tcp: bool = True,
        status: str = "200 OK",
        sdp: str | None = None,
    ) -> None:
        """Listen.

        Args:
            frames: the first says how all are to be decoded.
            play: sends frames to a viewer.
            has_sets: whether the description of the stream says so too.
            takes_tcp: False for a camera that sends by UDP alone.
            status: what it answers when it is asked to describe its stream.
            sdp: how it describes its tracks, whatever it sends; None for one of H.264.
        """
        self.sdp = self.session(sdp) if sdp is not None else _h264_sdp(frames, has_sets)
        """The description; may be changed between two viewers."""
        self._takes_tcp, self._status = takes_tcp, status
        self._play = play
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/live"
        self.viewers: list[Viewer] = []

    @staticmethod
    def session(tracks: str) -> str:
        """A whole description with these tracks."""
        return _SESSION + tracks

    def __enter__(self) -> RtspCamera:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for viewer in self.viewers:
            viewer.is_gone.set()
            viewer.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._server.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        viewer = Viewer(connection)
        with connection, connection.makefile("rb") as asked, contextlib.suppress(OSError):
            while line := asked.readline():
                verb = line.split()[0]
                headers = dict(iter(lambda: asked.readline().strip().partition(b": ")[::2], (b"", b"")))
                said, body, status = b"", b"", b"200 OK"
                if verb == b"DESCRIBE":
                    status = self._status.encode()
                    said, body = b"Content-Type: application/sdp\r\n", self.sdp.encode()
                elif verb == b"SETUP":
                    said, status = self._set_up(viewer, headers[b"Transport"])
                said += b"Content-Length: %d\r\n" % len(body)
                connection.sendall(
                    b"RTSP/1.0 " + status + b"\r\nCSeq: " + headers[b"CSeq"] + b"\r\n" + said + b"\r\n" + body
                )
                if verb == b"PLAY":
                    self.viewers.append(viewer)
                    threading.Thread(target=self._show, args=(viewer,), daemon=True).start()
        viewer.is_gone.set()
        viewer.close()

    def _set_up(self, viewer: Viewer, wanted: bytes) -> tuple[bytes, bytes]:
        if b"TCP" in wanted:
            if not self._takes_tcp:
                return b"", b"461 Unsupported Transport"
            return b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n", b"200 OK"
        ports = wanted.partition(b"client_port=")[2].split(b";")[0]
        viewer.udp_port = int(ports.split(b"-")[0])
        said = b"Transport: RTP/AVP/UDP;unicast;client_port=" + ports + b";server_port=22090-22091\r\nSession: 1\r\n"
        return said, b"200 OK"

    def _show(self, viewer: Viewer) -> None:
        with contextlib.suppress(OSError):
            self._play(viewer)


def _h264_sdp(frames: list[Units], has_sets: bool) -> str:
    sets = ",".join(base64.b64encode(unit).decode() for unit in frames[0] if unit[0] & 0x1F in (7, 8))
    return _SESSION + _H264.format(sets=f"; sprop-parameter-sets={sets}" if has_sets else "")


def _units(data: bytes) -> Units:
    return [unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
