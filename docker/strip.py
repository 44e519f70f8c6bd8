"""Removes symbol tables from extension modules: `python3 strip.py FOLDER`. Wheels ship them, but no process uses them.

A loader maps what the program headers list; symbols and debug information follow behind that, listed in section
headers that only a debugger needs. Build stages call this instead of binutils' `strip`, which moves parts of a file and
thereby breaks libraries that were patched when their wheel was built (numpy 2.4's OpenBLAS: "ELF load command
address/offset not page-aligned").
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path


def strip(path: Path) -> int:
    """Strip one file in place; returns the removed bytes. Other files than 64-bit little-endian ELF are left alone."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return 0
    (headers_at,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    end = headers_at + size * count
    for at in range(headers_at, end, size):
        offset, _, _, length = struct.unpack_from("<QQQQ", data, at + 8)
        end = max(end, offset + length)
    if end >= len(data):
        return 0
    kept = bytearray(data[:end])
    struct.pack_into("<Q", kept, 0x28, 0)  # no section headers ...
    struct.pack_into("<HH", kept, 0x3C, 0, 0)  # ... their number is 0, and so is the index of the one with their names
    path.write_bytes(kept)
    return len(data) - end


def main() -> None:
    """Strip all files below the folder, except those that NVIDIA and onnxruntime load in their own way."""
    total = 0
    for path in sorted(Path(sys.argv[1]).rglob("*.so*")):
        if path.is_file() and not path.is_symlink() and not {"nvidia", "onnxruntime"} & set(path.parts):
            total += strip(path)
    print(f"{total / 1e6:.1f} MB of symbols cut")


if __name__ == "__main__":
    main()
