"""Clips, short videos of what a camera sent around a burst: how they are named, and sealed on the edge node.

The edge worker makes them, the map API stores them and hands them out, and neither can open them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from functions.sealing import SealError, seal, unseal

SUFFIX = ".sealed"
MAGIC = b"bongsu clip 1\n"
BYTES_MAX = 64_000_000
"""No sealed clip is larger, whatever the settings of a node: the map API refuses it."""

_CAMERA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME = re.compile(r"(\d{8}T\d{9}Z)-(\d{8}T\d{9}Z)\.sealed", re.ASCII)
_HEAD_MAX = 400
_LONGEST = timedelta(hours=1)


@dataclass(frozen=True, slots=True, order=True)
class ClipName:
    """Which camera a clip is from, and when; times to the millisecond."""

    camera: str
    start: datetime
    end: datetime

    @property
    def file(self) -> str:
        """The name of its file, in the folder of its camera."""
        return f"{_stamp(self.start)}-{_stamp(self.end)}{SUFFIX}"

    @property
    def path(self) -> str:
        """Its path below the root of a store."""
        return f"{self.camera}/{self.file}"

    @property
    def head(self) -> bytes:
        """The readable start of its sealed file."""
        content = {"camera": self.camera, "file": self.file, "media": "video/mp4"}
        return MAGIC + json.dumps(content, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, path: str) -> Self | None:
        """The name of which this is the path; None if it is not the path of a clip."""
        camera, _, file = path.partition("/")
        found = _NAME.fullmatch(file)
        if found is None or not is_camera(camera):
            return None
        try:
            start, end = (datetime.strptime(f"{text[:-1]}000+0000", "%Y%m%dT%H%M%S%f%z") for text in found.groups())
        except ValueError:
            return None
        return cls(camera, start, end) if timedelta(0) <= end - start <= _LONGEST else None

    def meets(self, since: datetime, until: datetime) -> bool:
        """Whether it shows any moment of that time."""
        return self.start <= until and self.end >= since


def is_camera(text: str) -> bool:
    """Whether this can be the id of a camera, and so the name of a folder."""
    return _CAMERA.fullmatch(text) is not None


def seal_clip(name: ClipName, mp4: bytes, public_key: bytes) -> bytes:
    """Seal a video for the holder of the private key."""
    return seal(mp4, name.head, public_key)


def unseal_clip(sealed: bytes, private_key: bytes) -> tuple[ClipName, bytes]:
    """The name and the video of a sealed clip.

    Raises:
        SealError: it is not a sealed clip, was sealed for another key, or was altered.
    """
    name = name_in(sealed)
    if name is None:
        raise SealError("this is not a sealed clip")
    return name, unseal(sealed, name.head, private_key)


def name_in(sealed: bytes) -> ClipName | None:
    """The name that a sealed clip states in its head; None if it is not a sealed clip."""
    end = sealed.find(b"\n", len(MAGIC), _HEAD_MAX)
    if not sealed.startswith(MAGIC) or end < 0:
        return None
    try:
        content = json.loads(sealed[len(MAGIC) : end])
        name = ClipName.parse(f"{content['camera']}/{content['file']}")
    except (ValueError, KeyError, TypeError):
        return None
    return name if name is not None and sealed.startswith(name.head) else None


def _stamp(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}Z"
