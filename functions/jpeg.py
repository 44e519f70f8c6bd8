"""Checks a JPEG before it is decoded; every room that receives pictures calls this first."""

from __future__ import annotations

MAX_PIXELS = 40_000_000
"""8K is 33 megapixels; a larger declared size is a mistake or a bomb."""
_TABLES = (0xC4, 0xC8, 0xCC)
"""Markers in the range of frame headers that are not frame headers."""
_BARE = (0x00, 0x01, *range(0xD0, 0xDA))
"""Markers without a length, which no camera writes before a frame header. A parser that reads a length there finds a
different header than the decoder, which skips the marker."""


class PictureError(ValueError):
    """These bytes are not a usable picture; the message says why."""


def check_jpeg(jpeg: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the size that a JPEG declares, from its header and without decoding it.

    Args:
        jpeg: the bytes.
        max_pixels: the most allowed; decoding takes three bytes for each.

    Returns:
        Width and height in pixels.

    Raises:
        PictureError: not a JPEG, cut off, or too large.
    """
    if jpeg[:2] != b"\xff\xd8":
        raise PictureError(f"not a JPEG: begins with {jpeg[:4].hex() or 'nothing'}")
    width, height = _declared_size(jpeg)
    if width * height > max_pixels:
        raise PictureError(f"picture of {width}x{height} is over {max_pixels // 1_000_000} megapixels")
    # Decoders silently fill missing parts with grey, so a picture without its end is refused here.
    if b"\xff\xd9" not in jpeg[-64:]:
        raise PictureError(f"JPEG of {len(jpeg)} bytes is cut off: it has no end marker")
    return width, height


def _declared_size(jpeg: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 < len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _TABLES:
            height, width = int.from_bytes(jpeg[at + 5 : at + 7]), int.from_bytes(jpeg[at + 7 : at + 9])
            if width and height:
                return width, height
            break
        if marker in _BARE:
            break
        # Fill bytes before a marker are allowed.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    raise PictureError(f"JPEG of {len(jpeg)} bytes declares no size")
