"""One decoded frame of a camera, and its two conversions: a small luma for the gate, and a JPEG to send."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av

_LOOK_PX = 320 * 180
_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "gray")


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded frame, not converted yet."""

    frame: av.VideoFrame
    captured_at: datetime
    at_s: float
    """The same moment on the monotonic clock."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.frame.width, self.frame.height
        return (height, width) if self._quarters % 2 else (width, height)

    @property
    def _quarters(self) -> int:
        """Anticlockwise quarter turns to apply to the frame, as for a telephone that is held upright."""
        return round(self.frame.rotation / 90) % 4

    def luma(self) -> NDArray[np.uint8]:
        """Brightness of every n-th pixel, about as many as in 320x180; shape (H, W)."""
        frame = self.frame if self.frame.format.name in _PLANAR else self.frame.reformat(format="gray")
        plane: Any = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        step = max(1, round(math.sqrt(frame.width * frame.height / _LOOK_PX)))
        return np.ascontiguousarray(np.rot90(rows[step // 2 :: step, step // 2 :: step], self._quarters))

    def jpeg(self, width: int, quality: int) -> bytes:
        """The frame as JPEG, scaled down to `width` pixels if it is wider; quality 0 to 100."""
        scale = min(1.0, width / self.size[0])
        size = max(2, round(self.frame.width * scale)), max(2, round(self.frame.height * scale))
        image: Any = self.frame.to_ndarray(format="bgr24", width=size[0], height=size[1])
        if self._quarters:
            image = np.ascontiguousarray(np.rot90(image, self._quarters))
        stored: bytes = simplejpeg.encode_jpeg(image, quality=quality, colorspace="BGR", colorsubsampling="420")
        return stored
